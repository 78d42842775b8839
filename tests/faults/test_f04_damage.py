"""F4: bytes that are not as they were written are found and named, and the rest is read; no file reads short."""

import random
import sqlite3
from contextlib import contextmanager, suppress

import pytest
import pytest_asyncio

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreDamaged, StoreError, StoreRefused

pytestmark = pytest.mark.asyncio
T0_US = 1_700_000_000_000_000
BLOCK = 50


@pytest_asyncio.fixture
async def path(tmp_path):
    """Four blocks of fifty events, a second apart."""
    file = tmp_path / "runs.db"
    async with ct.Lab(file) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        with exp.scope():
            for number in range(4 * BLOCK):
                ct.execute_nowait("fault.numbered", {"n": number}, at_us=T0_US + number * 1_000_000)
                if number % BLOCK == BLOCK - 1:
                    await exp.flush()
    with rows(file) as tables:
        found = dict(tables.execute("SELECT first_seq, rows FROM blocks"))
        assert found[51] == found[101] == found[151] == BLOCK
    return file


@contextmanager
def rows(file):
    connection = sqlite3.connect(file)
    with connection:
        yield connection
    connection.close()


def second(part):
    """The seconds in which a block's events lie."""
    return ct.Between(
        T0_US + part * BLOCK * 1_000_000, T0_US + ((part + 1) * BLOCK - 1) * 1_000_000
    )


async def the_rest_is_read(file, damaged):
    async with ct.Lab(file) as lab:
        (exp,) = lab.list_experiments()
        for part in range(4):
            if part == damaged:
                with pytest.raises(StoreDamaged, match="events 51 to 100"):
                    await exp.window(second(part))
            else:
                found = await exp.window(second(part))
                assert [e.measurements["n"] for e in found] == [
                    *range(part * BLOCK, (part + 1) * BLOCK)
                ]
        for reading in (exp.events, exp.metrics, exp.reopen):
            with pytest.raises(StoreDamaged, match="events 51 to 100"):
                await reading()


async def test_f04_a_flipped_bit_in_a_block_is_named_and_the_other_blocks_are_read(path):
    with rows(path) as tables:
        (data,) = tables.execute("SELECT data FROM blocks WHERE first_seq = 51").fetchone()
    whole = path.read_bytes()
    at = whole.index(data[-40:]) + 20
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    await the_rest_is_read(path, 1)


async def test_f04_a_block_that_is_gone_is_named_and_the_other_blocks_are_read(path, caplog):
    with rows(path) as tables:
        tables.execute("DELETE FROM blocks WHERE first_seq = 51")
    await the_rest_is_read(path, 1)
    assert "events 51 to 100 are missing" in caplog.text


async def test_f04_blocks_that_are_gone_at_the_very_end_are_missed_too(path, caplog):
    with rows(path) as tables:
        tables.execute("DELETE FROM blocks WHERE first_seq >= 101")
    async with ct.Lab(path) as lab:
        (exp,) = lab.list_experiments()
        with pytest.raises(StoreDamaged, match="events 101 to 200 are missing"):
            await exp.events()
        assert len(await exp.window(second(0))) == BLOCK
        assert exp.health().store.damage == ("events 101 to 200 are missing",)
    assert "events 101 to 200 are missing" in caplog.text


async def test_f04_without_its_record_an_experiment_is_read_and_not_gone_on_with(path, caplog):
    async with ct.Lab(path) as lab:
        await lab.start_experiment("b", capture="scope")
    with rows(path) as tables:
        tables.execute("UPDATE experiments SET record = x'00ff' WHERE name = 'a'")
    heard = []
    ct.attach("damage", "crucible.store.damaged", lambda *told: heard.append(told[2]["damage"]))
    try:
        async with ct.Lab(path) as lab:
            a, b = lab.list_experiments()
            assert (a.name, a.state, b.name, b.state) == (a.id, "interrupted", "b", "stopped")
            assert [e.measurements["n"] for e in await a.events()] == list(range(4 * BLOCK))
            with pytest.raises(StoreDamaged, match="its record is damaged"):
                await a.reopen()
            assert heard == ["its record is damaged: options, states and counts are not known"]
    finally:
        ct.detach("damage")
    assert "its record is damaged" in caplog.text


@pytest.fixture
def spelled(tmp_path):
    """Events of two shapes, three models and an error type, half of them in trials: see `SPELLED`."""
    return tmp_path / "spelled.db"


async def spell(file):
    async with ct.Lab(file) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        for number in range(6):
            async with exp.trial(item=f"q{number}") as trial:
                ct.execute_nowait(
                    "llm.request.stop",
                    {"n": number, "duration_ns": 10**6},
                    {"model": f"m{number // 2}", "provider": "p"},
                    at_us=T0_US + number * 1_000_000,
                )
                trial.score(correct=True)
            await exp.flush()  # words are numbered by batch
        with exp.scope():
            ct.execute_nowait("other", {"k": 1}, at_us=T0_US + 50_000_000)
        assert (await exp.count_events()) == 7


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("UPDATE words SET word = x'93' WHERE kind = 'model' AND number = 2", "events 3 to"),
        ("DELETE FROM words WHERE kind = 'model' AND number = 3", "events 5 to"),
        ("UPDATE words SET number = 9 WHERE kind = 'shape' AND number = 1", "events 1 to"),
        ("DELETE FROM words WHERE kind = 'shape' AND number = 2", "events 7 to"),
    ],
)
async def test_f04_a_word_that_is_damaged_is_missed_by_the_events_that_use_it(
    spelled, damage, named
):
    await spell(spelled)
    with rows(spelled) as tables:
        tables.execute(damage)
    async with ct.Lab(spelled) as lab:
        (exp,) = lab.list_experiments()
        with pytest.raises(StoreDamaged, match=named):
            await exp.events()
        assert "are damaged" in exp.health().store.damage[0]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trials SET record = substr(record, 1, 9) || x'00' WHERE number = (SELECT max(number) FROM trials)",
        "DELETE FROM trials WHERE number = (SELECT max(number) FROM trials)",
    ],
)
async def test_f04_a_trial_that_is_damaged_is_no_trial_that_was_never_run(spelled, damage):
    await spell(spelled)
    with rows(spelled) as tables:
        tables.execute(damage)
    async with ct.Lab(spelled) as lab:
        (exp,) = lab.list_experiments()
        for reading in (exp.trials, exp.reopen, exp.events):
            with pytest.raises(StoreDamaged, match="1 trials are damaged|events 6 to 6: .*trials"):
                await reading()
        with pytest.raises(StoreDamaged):
            exp.trials_done()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE rollups SET cells = substr(cells, 1, 5) || x'01' || substr(cells, 7) WHERE level_s = 60",
        "DELETE FROM rollups WHERE level_s = 60 AND start_us = (SELECT max(start_us) FROM rollups)",
        "UPDATE rollups SET cells = x'00' WHERE level_s = 0",
    ],
)
async def test_f04_roll_ups_that_are_damaged_are_told_of_and_made_anew_from_the_events(
    path, caplog, damage
):
    async with ct.Lab(path) as lab:
        whole = await lab.list_experiments()[0].windowed_metrics(60)
    with rows(path) as tables:
        tables.execute(damage)
    async with ct.Lab(path) as lab:
        (exp,) = lab.list_experiments()
        again = await exp.windowed_metrics(60)
        assert [row.event_count for row in again] == [row.event_count for row in whole]
        assert all(row.exact for row in again)  # from the events
        assert "made anew" in caplog.text
        await exp.reopen()
        assert await exp.windowed_metrics(60) == whole  # from roll-ups that were made anew
    with rows(path) as tables:
        assert tables.execute("SELECT count(*) FROM rollups WHERE level_s = 60").fetchone() == (4,)


HOLES = {
    "flipped": "UPDATE blocks SET data = CAST(substr(data, 1, 50) || x'00' || substr(data, 52) AS BLOB) WHERE first_seq = 51",
    "gone": "DELETE FROM blocks WHERE first_seq = 51",
    "gone at the end": "DELETE FROM blocks WHERE first_seq = 151",
}


@pytest.mark.parametrize("hole", HOLES)
async def test_f04_a_lab_that_skips_damage_reads_the_rest_and_says_what_it_left_out(
    path, tmp_path, caplog, hole
):
    first = 151 if "end" in hole else 51
    rest = [n for n in range(4 * BLOCK) if not first <= n + 1 < first + BLOCK]
    with rows(path) as tables:
        tables.execute(HOLES[hole])
    async with ct.Lab(path, on_damage="skip") as lab:
        (exp,) = lab.list_experiments()
        summary = (await exp.metrics()).summary
        assert (summary.total_events, summary.marks["missing"]) == (3 * BLOCK, BLOCK)
        assert f"damaged     missing {BLOCK}" in str(await exp.metrics())
        assert exp.health().store.damage == (f"events {first} to {first + BLOCK - 1} are missing",)
        assert f"events {first} to {first + BLOCK - 1}" in caplog.text
        assert [e.measurements["n"] for e in await exp.events()] == rest
        assert await exp.count_events() == len(await exp.window(ct.LastN(500))) == 3 * BLOCK
        assert await exp.window(second(first // BLOCK)) == []
        written = (await exp.export(tmp_path / "rest.jsonl")).read_text().splitlines()
        assert len(written) == 3 * BLOCK
        for leaving in (exp.archive, exp.checkpoint):
            with pytest.raises(
                StoreDamaged, match=f"events {first} to {first + BLOCK - 1} are miss"
            ):
                await leaving(tmp_path / "archive")
    async with ct.Lab(path) as lab:
        (exp,) = lab.list_experiments()
        with pytest.raises(ct.ExportError, match=r"events .*on_damage='skip'.* reads the rest"):
            await exp.export(tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("looked", [True, False])
async def test_f04_a_lab_that_skips_damage_goes_on_behind_it(path, hole, looked):
    first = 151 if "end" in hole else 51
    rest = [n for n in range(4 * BLOCK) if not first <= n + 1 < first + BLOCK]
    with rows(path) as tables:
        tables.execute(HOLES[hole])
    for more in range(1, 4):
        seqs = [*(n + 1 for n in rest), *range(4 * BLOCK + 1, 4 * BLOCK + more + 1)]
        async with ct.Lab(path, on_damage="skip") as lab:
            (exp,) = lab.list_experiments()
            if looked:
                assert len(await exp.events()) == 3 * BLOCK + more - 1
            await exp.reopen()
            with exp.scope():
                ct.execute_nowait("fault.numbered", {"n": 4 * BLOCK + more - 1})
            assert [e.seq for e in await exp.events()] == seqs
        async with ct.Lab(path, on_damage="skip", read_only=True) as lab:
            (exp,) = lab.list_experiments()
            found = await exp.events()
            assert [e.seq for e in found] == seqs
            assert [e.measurements["n"] + 1 for e in found] == seqs
            assert (await exp.metrics()).summary.total_events == len(seqs)
            assert await exp.windowed_metrics(3600)


async def test_f04_a_lab_that_skips_damage_marks_the_words_that_it_cannot_read(spelled):
    await spell(spelled)
    with rows(spelled) as tables:
        tables.execute("DELETE FROM words WHERE kind = 'model' AND number = 2")
        tables.execute("DELETE FROM words WHERE kind = 'shape' AND number = 2")
        tables.execute("DELETE FROM trials WHERE number = (SELECT max(number) FROM trials)")
    async with ct.Lab(spelled, on_damage="skip") as lab:
        (exp,) = lab.list_experiments()
        events = await exp.events()
        assert [e.model for e in events[:6]] == [
            "m0", "m0", "crucible.damaged 2", "crucible.damaged 2", "m2", "m2",
        ]  # fmt: skip
        assert (events[6].event_name, events[6].metadata) == ("crucible.damaged", {"values": [1]})
        assert [len(await exp.trials()), len(exp.trials_done())] == [5, 5]
        with pytest.raises(StoreDamaged, match="is not whole: .*1 trials are damaged"):
            await exp.archive(spelled.parent / "archive")


async def test_f04_a_comparison_of_what_is_not_whole_says_so(path):
    async with ct.Lab(path) as lab:
        for arm in ("b", "c"):
            async with lab.experiment(arm) as exp:
                for number in range(12):
                    async with exp.trial(item=str(number)) as trial:
                        ct.execute_nowait("x.stop", {"duration_ns": number})
                        trial.score(correct=number % 3 > (arm == "b"))
    with rows(path) as tables:
        tables.execute("DELETE FROM blocks WHERE experiment LIKE 'b-%'")
    async with ct.Lab(path, on_damage="skip") as lab:
        arms = [exp.id for exp in lab.list_experiments()[1:]]
        said = str(await lab.compare_experiments(arms, metric="score.correct"))
    assert "b is not whole: events 1 to 12 are missing" in said


async def test_f04_what_to_do_about_damage_is_one_of_two(path):
    with pytest.raises(ct.ConfigurationError, match="on_damage: want 'raise' or 'skip'"):
        ct.Lab(path, on_damage="ignore")


@pytest.mark.parametrize("seed", range(12))
async def test_f04_wherever_a_file_is_torn_it_is_an_error_or_all_there(path, seed):
    chance = random.Random(seed)
    whole = bytearray(path.read_bytes())
    for _ in range(20):
        whole[chance.randrange(100, len(whole))] ^= 1 << chance.randrange(8)
    path.write_bytes(whole if seed % 2 else whole[: len(whole) * 2 // 3])
    with suppress(StoreError):
        async with ct.Lab(path) as lab:
            for exp in lab.list_experiments():
                numbers = [event.measurements["n"] for event in await exp.events()]
                assert numbers == list(range(4 * BLOCK))


async def test_f04_files_that_are_none_of_ours_are_refused_and_left_as_they_are(tmp_path):
    other, newer, text, empty = (tmp_path / n for n in ("other.db", "newer.db", "a.txt", "empty"))
    with rows(other) as tables:
        tables.execute("CREATE TABLE mine (x)")
    async with ct.Lab(newer):
        pass
    with rows(newer) as tables:
        tables.execute("PRAGMA user_version = 99")
    text.write_text("no database at all, but long enough to look at" * 100)
    empty.touch()
    for file, said in ((other, "another program"), (newer, "has format 99"), (text, "no SQLite")):
        before = file.read_bytes()
        with pytest.raises(StoreRefused, match=said):
            await ct.Lab(file).open()
        assert file.read_bytes() == before
    with pytest.raises(StoreError, match="is a folder"):
        await ct.Lab(tmp_path).open()
    async with ct.Lab(empty) as lab:
        assert lab.list_experiments() == []
