"""The marks beside a database: what stands in them, and what they say of a file that is not the one they knew."""

import shutil

import pytest

import crucible_telemetry as ct
from crucible_telemetry.stores import marks
from crucible_telemetry.stores.damage import MOST, Damage
from crucible_telemetry.stores.keeping import Mark, Tip
from crucible_telemetry.stores.marks import SLOT_BYTES, Marks

ANOTHER = b"another!"


@pytest.fixture
def file(tmp_path):
    database = tmp_path / "runs.db"
    database.touch()
    return Marks(database, promises=True)


def test_each_experiment_has_the_slot_of_its_row_and_the_last_word_stands(file):
    file.committed({1: ("a", Tip(1, 10)), 3: ("ü" * 40, Tip(2, 7))})
    file.committed({1: ("a", Tip(2, 20))})
    assert file.read() == {
        "a": Mark(commit=2, last_seq=20),
        "ü" * 40: Mark(commit=2, last_seq=7),
    }
    assert file.path.stat().st_size == 4 * SLOT_BYTES
    file.forget(1, "a")
    assert list(file.read()) == ["ü" * 40]


def test_an_id_that_is_too_long_a_torn_slot_and_no_file_say_nothing(file):
    assert file.read() == {}
    file.committed({1: ("a", Tip(1, 1)), 2: ("b", Tip(1, 1)), 3: ("x" * 300, Tip(1, 1))})
    data = bytearray(file.path.read_bytes())
    data[SLOT_BYTES + 9] ^= 1
    file.path.write_bytes(data)
    assert list(file.read()) == ["b"]


def test_a_promise_is_made_once_in_a_while_and_further_ahead_the_sooner_it_is_reached(
    file, monkeypatch
):
    waits = []
    monkeypatch.setattr(marks, "wait", waits.append)
    for commit in range(1, 101):
        tips = {1: ("a", Tip(commit, commit * 1_000))}
        file.promise(tips)
        file.committed(tips)
    assert len(waits) == 7  # ever twice as far
    monkeypatch.setattr(marks, "boot", lambda: ANOTHER)
    assert file.read()["a"].promised >= 100_000


def test_where_commits_wait_for_the_disk_nothing_is_promised(tmp_path, monkeypatch):
    (tmp_path / "runs.db").touch()
    file = Marks(tmp_path / "runs.db", promises=False)
    tips = {1: ("a", Tip(1, 10))}
    file.promise(tips)
    file.committed(tips)
    monkeypatch.setattr(marks, "boot", lambda: ANOTHER)
    assert file.read() == {"a": Mark(commit=1, last_seq=10)}


def test_who_closes_last_takes_all_promises_of_this_run_of_the_machine_back(file, monkeypatch):
    other = Marks(file.path.with_name("runs.db"), promises=True)
    for one, row in ((file, 1), (other, 2)):
        tips = {row: (str(row), Tip(1, 10))}
        one.promise(tips)
        one.committed(tips)
    with monkeypatch.context() as patch:
        patch.setattr(marks, "boot", lambda: ANOTHER)
        tips = {3: ("3", Tip(1, 10))}
        file.promise(tips)
        file.committed(tips)
    file.close(whole=False)
    other.close(whole=True)
    other.close(whole=True)
    monkeypatch.setattr(marks, "boot", lambda: b"a third.")
    assert {one: mark.promised > 10 for one, mark in other.read().items()} == {
        "1": False, "2": False, "3": True,
    }  # fmt: skip


@pytest.mark.asyncio
async def test_marks_of_a_file_that_was_deleted_are_told_of_once(tmp_path, caplog):
    path = tmp_path / "runs.db"
    async with ct.Lab(path) as lab, lab.experiment("a") as exp:
        ct.execute_nowait("x")
        await exp.flush()
    path.unlink()
    for times in (1, 1):
        async with ct.Lab(path) as lab:
            assert lab.list_experiments() == []
        assert caplog.text.count(f"experiment {exp.id!r} is not there: its events 1 to 1") == times


@pytest.mark.asyncio
async def test_marks_lie_beside_the_file_and_not_beside_a_link_to_it_and_for_whom_the_file_is(
    tmp_path,
):
    real, link = tmp_path / "real", tmp_path / "link.db"
    real.mkdir()
    async with ct.Lab(real / "runs.db"):
        (real / "runs.db").chmod(0o600)
    link.symlink_to(real / "runs.db")
    async with ct.Lab(link) as lab, lab.experiment("a"):
        ct.execute_nowait("x")
    # The journal too: who leaves it to another lab takes no promise back.
    async with ct.Lab(real / "runs.db"):
        async with ct.Lab(link) as lab, lab.experiment("b") as exp:
            ct.execute_nowait("x")
        assert [
            one.promised > 0 for one in Marks(link, promises=True)._found() if one.id == exp.id
        ] == [True]
    beside = real / "runs.db-marks"
    assert beside.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "link.db-marks").exists()
    shutil.copy(real / "runs.db", tmp_path / "copy.db")
    async with ct.Lab(tmp_path / "copy.db") as lab:
        assert lab.list_experiments()[0].health().store.damage == ()


def test_of_very_many_gaps_the_first_are_told_one_by_one():
    told = Damage(missing=tuple((at, at + 1) for at in range(1, 1_000, 10))).told()
    assert len(told) == MOST + 1
    assert told[0] == "events 1 to 2 are missing"
    assert told[-1] == "and 160 more events in 80 runs are missing"
