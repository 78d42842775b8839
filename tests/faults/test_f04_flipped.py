"""F4: a bit that flips anywhere in a database or its journal is told of, or changes nothing that can be read.

More: ``pytest tests/faults/test_f04_flipped.py --deep 3000``.
"""

import logging
import random
import shutil

import pytest
import pytest_asyncio

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreError

pytestmark = pytest.mark.asyncio
T0_US = 1_700_000_000_000_000
FLIPS = 300
ROUNDS = 12
ROWS = 30


async def emit(exp, number):
    """A round: events of a trial, some more, and a commit."""
    async with exp.trial(item=f"q{number}") as trial:
        for row in range(ROWS):
            ct.execute_nowait(
                "llm.request.stop",
                {"n": number * ROWS + row, "duration_ns": 10**6 + row},
                {"model": f"m{row % 3}", "provider": "p", "text": "x" * row},
                at_us=T0_US + (number * ROWS + row) * 1_000_000,
            )
        trial.score(correct=number % 2 == 0)
    await exp.flush()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def left(tmp_path_factory):
    """What a process leaves that is killed: a database, a journal with its later half, and marks."""
    folder = tmp_path_factory.mktemp("left")
    async with ct.Lab(folder / "runs.db") as lab:
        old = await lab.start_experiment("old", capture="scope", tags=["t"])
        for number in range(3):
            await emit(old, number)
    async with ct.Lab(folder / "runs.db") as lab:
        exp = await lab.start_experiment("new", capture="scope", hypothesis="h")
        for number in range(ROUNDS):
            await emit(exp, number)
        killed = folder / "killed"
        killed.mkdir()
        for name in ("runs.db", "runs.db-wal", "runs.db-marks"):
            shutil.copy(folder / name, killed / name)
    return killed


async def read(path):
    """All that can be read of a lab, as plain values."""
    found = []
    async with ct.Lab(path) as lab:
        for exp in lab.list_experiments():
            windows = [repr(row) for row in await exp.windowed_metrics(60)]
            exact = await exp.metrics(by="event")
            found.append((
                exp.id, exp.name, exp.state, exp.spec, exp.counts, exp.pause_count, windows,
                [event.to_dict() if hasattr(event, "to_dict") else repr(event) for event in await exp.events()],
                await exp.trials(), exp.trials_done(), exact.latency, exact.summary.total_events,
            ))  # fmt: skip
    return found


class Told(logging.Handler):
    """Whether anything was said in the library's log."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


async def after(folder, path):
    """(what was read, what was said) of a copy of this folder; None read: an error."""
    told = Told()
    logging.getLogger("crucible_telemetry").addHandler(told)
    try:
        found = await read(path)
    except StoreError as error:
        return None, [str(error)]
    finally:
        logging.getLogger("crucible_telemetry").removeHandler(told)
        shutil.rmtree(folder)
    return found, told.lines


def copied(left, tmp_path, *names):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in names or [path.name for path in left.iterdir()]:
        shutil.copy(left / name, folder / name)
    return folder


async def test_f04_what_kill_leaves_and_a_copy_without_marks_accuse_nobody(left, tmp_path):
    for names in ((), ("runs.db", "runs.db-wal")):
        folder = copied(left, tmp_path, *names)
        found, told = await after(folder, folder / "runs.db")
        assert found is not None
        assert [one[1] for one in found] == ["old", "new"]
        assert told == []


async def test_f04_a_flipped_bit_anywhere_is_told_of_or_changes_nothing(left, tmp_path, request):
    folder = copied(left, tmp_path)
    whole, _ = await after(folder, folder / "runs.db")
    chance, told_of = random.Random(4), 0
    sizes = {path.name: path.stat().st_size for path in left.iterdir()}
    assert sizes["runs.db-wal"] > sizes["runs.db"] / 2
    for number in range(max(FLIPS, request.config.getoption("--deep"))):
        folder = copied(left, tmp_path)
        name = ("runs.db", "runs.db-wal", "runs.db", "runs.db-wal", "runs.db-marks")[number % 5]
        data = bytearray((folder / name).read_bytes())
        at, bit = chance.randrange(len(data)), chance.randrange(8)
        data[at] ^= 1 << bit
        (folder / name).write_bytes(data)
        found, told = await after(folder, folder / "runs.db")
        told_of += bool(told)
        assert told or found == whole, (name, at, bit)
    assert told_of > FLIPS / 10


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
async def test_f04_a_journal_that_has_lost_its_end_names_the_events(left, tmp_path, share):
    folder = copied(left, tmp_path)
    journal = folder / "runs.db-wal"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: int(len(whole) * share)])
    shutil.copytree(folder, tmp_path / "kept")
    found, told = await after(folder, folder / "runs.db")
    total = ROUNDS * ROWS
    new = [one for one in found if one[1] == "new"]
    if not new:
        assert (
            f"is not there: its events 1 to {total}, as far as there were any, are lost"
            in "".join(told)
        )
        return
    there = len(new[0][7])
    assert f"events {there + 1} to {total} were committed and are lost" in "".join(told)
    await goes_on_after_a_loss(tmp_path / "kept" / "runs.db", there, total)


async def goes_on_after_a_loss(path, there, total):
    """Seqs are given again; that there was a loss is not forgotten."""
    said = (
        f"events {there + 1} to {total} were committed and are lost: the last transactions are gone"
    )
    for more in (1, 2):
        async with ct.Lab(path) as lab:
            exp = next(one for one in lab.list_experiments() if one.name == "new")
            assert exp.health().store.damage == (said,)
            assert (await exp.metrics()).summary.marks["lost"] == total - there
            await exp.reopen()
            with exp.scope():
                ct.execute_nowait("more")
            assert await exp.count_events() == there + more
