"""F2: after a loss of power nothing that was confirmed is missing, or what may be missing is named.

More: ``pytest tests/faults/test_f02_power.py --deep 5000``.
"""

import logging
import random
import re
import shutil
import sqlite3

import pytest
import pytest_asyncio
from power import cuts, found_after, taped

import crucible_telemetry as ct
from crucible_telemetry.stores import marks

pytestmark = pytest.mark.asyncio
CUTS = 200
ROUNDS = 40


async def record(monkeypatch, folder, durability):
    """(tape, what was confirmed: (place on the tape, name, events)) of two experiments in one lab."""
    chance, confirmed = random.Random(2), []
    folder.mkdir()
    monkeypatch.setattr(marks, "STEP", (16, 64))
    with taped(monkeypatch) as tape:
        async with ct.Lab(folder / "runs.db", durability=durability) as lab:
            arms = [await lab.start_experiment(name, capture="scope") for name in ("a", "b")]
            emitted = dict.fromkeys(arms, 0)
            for _ in range(ROUNDS):
                exp = chance.choice(arms)
                with exp.scope():
                    for _ in range(chance.randrange(1, 40)):
                        text = "x" * chance.randrange(200)
                        ct.execute_nowait("fault.numbered", {"n": emitted[exp]}, {"text": text})
                        emitted[exp] += 1
                await exp.flush()
                confirmed.append((len(tape.acts), exp.name, emitted[exp]))
        confirmed += [(len(tape.acts), exp.name, emitted[exp]) for exp in arms]
    return tape, confirmed


async def read(path):
    """(by name: what was found of it and which events it says are or may be lost, what the log says)."""
    told, log = [], logging.getLogger("crucible_telemetry")
    heard = logging.Handler()
    heard.emit = lambda record: told.append(record.getMessage())
    log.addHandler(heard)
    found = {}
    try:
        async with ct.Lab(path) as lab:
            for exp in lab.list_experiments():
                numbers = [e.measurements["n"] for e in await exp.events()]
                found[exp.name] = (numbers, runs(exp.health().store.damage))
                assert exp.counts.stored == len(numbers)
                assert [await exp.count_events(), (await exp.metrics()).summary.total_events] == [
                    len(numbers)
                ] * 2
    finally:
        log.removeHandler(heard)
    return found, told


def runs(damage):
    """The runs of events that lines name; there are lines without."""
    found = [re.search(r"events (\d+) to (\d+)", line) for line in damage]
    return [(int(run[1]), int(run[2])) for run in found if run]


def covered(first, last, named):
    return all(any(low <= seq <= high for low, high in named) for seq in range(first, last + 1))


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_f02_whatever_the_disk_kept_what_was_confirmed_is_there_or_named(
    durability, tmp_path, monkeypatch, request
):
    tape, confirmed = await record(monkeypatch, tmp_path / "run", durability)
    chance, short = random.Random(1), 0
    monkeypatch.setattr(marks, "boot", lambda: b"another!")
    for number, (place, how) in enumerate(
        cuts(tape, max(CUTS, request.config.getoption("--deep")), chance)
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, data in found_after(tape, place, how, chance).items():
            (folder / name).write_bytes(data)
        found, told = await read(folder / "runs.db")
        owed = {name: count for at, name, count in confirmed if at <= place}
        for name, count in owed.items():
            numbers, named = found.get(name, ([], []))
            assert numbers == list(range(len(numbers))), (number, place, how)
            short += len(numbers) < count
            if durability == "full":
                assert len(numbers) >= count, (number, place, how)
                assert not any("lost" in line for line in told)
            elif len(numbers) < count:
                named = (
                    named if name in found else runs(line for line in told if f"'{name}-" in line)
                )
                assert covered(len(numbers) + 1, count, named), (number, place, how, named, told)
        sound(folder / "runs.db")
        if number % 10 == 0:
            await gone_on(folder / "runs.db", found)
    assert bool(short) == (durability == "normal")


async def gone_on(path, found):
    """What was left goes on: nothing of it is lost, and what was said of losses stays said."""
    async with ct.Lab(path) as lab:
        for exp in lab.list_experiments():
            await exp.reopen()
            with exp.scope():
                ct.execute_nowait("fault.numbered", {"n": len(found[exp.name][0])})
    again, _ = await read(path)
    assert {name: (numbers[:-1], named) for name, (numbers, named) in again.items()} == found
    assert all(numbers[-1] == len(numbers) - 1 for numbers, _ in again.values())


def sound(path):
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest_asyncio.fixture
async def left(tmp_path):
    """(what a process leaves that is closed, what it leaves that is killed) with everything confirmed."""
    closed, killed = tmp_path / "closed", tmp_path / "killed"
    closed.mkdir()
    async with ct.Lab(closed / "runs.db") as lab, lab.experiment("a") as exp:
        for number in range(50):
            ct.execute_nowait("fault.numbered", {"n": number})
        await exp.flush()
        shutil.copytree(closed, killed)
    return closed / "runs.db", killed / "runs.db"


ALL_THERE = {"a": (list(range(50)), [])}, []


async def test_f02_where_the_machine_has_not_stopped_nothing_is_in_doubt(left):
    for path in left:
        assert await read(path) == ALL_THERE


async def test_f02_a_lab_that_was_closed_is_not_in_doubt(left, monkeypatch):
    monkeypatch.setattr(marks, "boot", lambda: b"another!")
    assert await read(left[0]) == ALL_THERE


async def test_f02_a_doubt_stays_with_an_experiment_that_is_gone_on_with(left, monkeypatch):
    monkeypatch.setattr(marks, "boot", lambda: b"another!")
    for _ in range(2):
        async with ct.Lab(left[1]) as lab:
            (exp,) = lab.list_experiments()
            (said,) = exp.health().store.damage
            assert said.startswith(
                "not closed on the machine that wrote it, before that stopped: events 51 to "
            )
            await exp.reopen()
