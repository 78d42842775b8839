"""Files that cannot be a lab's, or not be written: what opening them says, and what can be read all the same."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import apsw
import pytest

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreError, StoreRefused
from crucible_telemetry.stores.sqlite import SqliteKeep

FOLDER = "is a folder, not a file"
UNUSABLE = {
    "folder": (FOLDER, FOLDER),
    "file/runs.db": ("cannot be made: File exists: .*file'", "cannot be read: Not a directory"),
    "dangling.db": ("is a link to .*nowhere.*, whose folder is not there", "is not there"),
    "x" * 300: ("File name too long", "File name too long"),
    "pipe": ("is no file but a device or a pipe", "is no file but a device or a pipe"),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "dangling.db").symlink_to(tmp_path / "nowhere" / "x.db")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.asyncio
@pytest.mark.parametrize("name", UNUSABLE, ids=lambda name: name[:20])
async def test_a_path_that_is_no_file_is_refused_in_words(name, folder):
    for reason, read_only in zip(UNUSABLE[name], (False, True), strict=True):
        with pytest.raises(StoreRefused, match=reason):
            await ct.Lab(folder / name, read_only=read_only).open()


@pytest.mark.parametrize(
    "url",
    ["", "a\0b", ":memory:", "sqlite:///", "sqlite:///a\0b", "redis://x", "own_stores:Noting", int],
)
def test_a_url_that_names_no_file_is_refused_at_once(url):
    with pytest.raises(ct.ConfigurationError, match="url: "):
        ct.Lab(url)


@pytest.mark.asyncio
async def test_an_empty_file_becomes_a_lab_but_for_who_only_reads(tmp_path):
    path = tmp_path / "runs.db"
    path.touch()
    with pytest.raises(StoreRefused, match="holds no lab: it is empty"):
        await ct.Lab(path, read_only=True).open()
    assert not path.stat().st_size
    async with ct.Lab(path) as lab, lab.experiment("a"):
        await ct.execute("a.b", {"n": 1})
    async with ct.Lab(path, read_only=True) as lab:
        assert lab.list_experiments()[0].counts.stored == 1


@pytest.mark.asyncio
async def test_folders_that_are_missing_are_made(tmp_path):
    async with ct.Lab(tmp_path / "a" / "b" / "runs.db") as lab, lab.experiment("a"):
        await ct.execute("a.b", {"n": 1})
    assert (tmp_path / "a" / "b" / "runs.db").is_file()


@pytest.mark.asyncio
async def test_a_file_that_somebody_locks_is_read_and_opened_and_what_is_emitted_waits(tmp_path):
    path = tmp_path / "runs.db"
    async with ct.Lab(path) as lab, lab.experiment("a"):
        await ct.execute("a.b", {"n": 1})
    other = apsw.Connection(str(path))
    other.execute("BEGIN EXCLUSIVE")
    async with ct.Lab(path, read_only=True) as lab:
        assert await lab.list_experiments()[0].count_events() == 1
    async with ct.Lab(path) as lab:
        async with lab.experiment("b") as exp:
            await ct.execute("a.b", {"n": 2})
            assert (await exp.flush()).failed == 1
            store = exp.health().store
            assert (store.state, store.waiting) == ("waiting", 1)
            assert store.reason.endswith("database is locked")
            other.execute("ROLLBACK")
            other.close()
        assert exp.health().store.waiting == 0
    async with ct.Lab(path) as lab:
        assert [exp.counts.stored for exp in lab.list_experiments()] == [1, 1]


@pytest.mark.asyncio
@pytest.mark.parametrize("another", [False, True])
async def test_a_file_that_is_taken_away_while_it_is_open_is_missed_and_gone_on_with_when_it_is_back(
    tmp_path, another
):
    path, away = tmp_path / "runs.db", tmp_path / "away.db"
    async with ct.Lab(path) as lab, lab.experiment("a") as exp:
        await ct.execute("a.b", {"n": 1})
        assert (await exp.flush()).failed == 0
        path.rename(away)
        if another:
            path.write_bytes(b"")
        await ct.execute("a.b", {"n": 2})
        assert (await exp.flush()).failed == 1
        store = exp.health().store
        assert (store.state, store.waiting) == ("waiting", 1)
        assert "was deleted, moved or replaced" in store.reason
        assert len(await exp.events()) == 2
        away.rename(path)
        assert (await exp.flush()).failed == 0
        await ct.execute("a.b", {"n": 3})
    async with ct.Lab(path) as lab:
        assert len(await lab.list_experiments()[0].events()) == 3


@pytest.mark.asyncio
async def test_closing_says_what_a_file_that_was_deleted_lacks(tmp_path):
    lab = ct.Lab(tmp_path / "runs.db")
    await lab.open()
    exp = await lab.start_experiment("a", capture="scope")
    await exp.flush()
    for path in tmp_path.iterdir():
        path.unlink()
    async with exp.scope():
        await ct.execute("a.b", {"n": 1})
    assert "was deleted" in (await lab.close())[exp.id]
    assert not (tmp_path / "runs.db").exists()


@pytest.mark.asyncio
async def test_where_no_journal_or_no_lock_is_to_be_had_it_is_said(tmp_path, monkeypatch):
    def without_journal(_self):
        return apsw.Connection(":memory:")  # SQLite has no write-ahead log for this one either

    with monkeypatch.context() as patched:
        patched.setattr(SqliteKeep, "_connected", without_journal)
        with pytest.raises(StoreRefused, match="write-ahead log .* network drives"):
            await ct.Lab(tmp_path / "runs.db").open()

    class Drive(apsw.VFS):
        """Its locks fail."""

        def __init__(self):
            super().__init__("drive", "")

        def xOpen(self, name, flags):  # noqa: N802 - apsw's name
            return File("", name, flags)

    class File(apsw.VFSFile):
        def xLock(self, level):  # noqa: N802
            raise apsw.IOError("locks do not work here")

    drive = Drive()
    with monkeypatch.context() as patched:
        patched.setattr(
            SqliteKeep, "_connected", lambda self: apsw.Connection(str(self.path), vfs="drive")
        )
        with pytest.raises(StoreError, match="locks do not work here|I/O error"):
            await ct.Lab(tmp_path / "runs.db").open()
    drive.unregister()


WITHOUT_RIGHTS = """
import asyncio, json, os, shutil, sys
import crucible_telemetry as ct

async def filled(folder):
    os.mkdir(folder)
    async with ct.Lab(folder + "/runs.db") as lab, lab.experiment("a") as exp:
        for n in range(3):
            await ct.execute("a.b", {"n": n})
        await exp.metrics()  # all modules are there: who has no rights may not read those either
        if folder.endswith("journal"):  # as a process leaves it that was killed
            await exp.flush()
            for end in ("", "-wal", "-shm"):
                shutil.copy(f"{folder}/runs.db{end}", f"{folder}/copy{end}")
    if folder.endswith("journal"):
        for end in ("", "-wal", "-shm"):
            os.replace(f"{folder}/copy{end}", f"{folder}/runs.db{end}")

def close_to_writing(folder):
    for file in os.listdir(folder):
        os.chmod(f"{folder}/{file}", 0o666 if folder.endswith("folder") else 0o444)
    os.chmod(folder, 0o777 if folder.endswith("file") else 0o555)

async def tried(path, read_only):
    try:
        async with ct.Lab(path, read_only=read_only) as lab:
            (exp,) = lab.list_experiments()
            return await exp.count_events()
    except ct.CrucibleError as error:
        return f"{type(error).__name__}: {error}"

async def all_tried(base):
    found = {}
    for kind in KINDS:
        for read_only in (False, True):
            found[f"{kind} {read_only}"] = await tried(f"{base}/{kind}/runs.db", read_only)
    found["new"] = await tried(f"{base}/both/new.db", False)
    found["deep"] = await tried(f"{base}/both/sub/new.db", False)
    print(json.dumps(found))

KINDS = ("file", "folder", "both", "journal")
base = sys.argv[1]
for kind in KINDS:
    asyncio.run(filled(f"{base}/{kind}"))
    close_to_writing(f"{base}/{kind}")
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(all_tried(base))
"""


@pytest.fixture
def open_folder():
    """One that every user may enter: those of pytest belong to who runs it."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o777)
    yield base
    for folder in base.iterdir():
        folder.chmod(0o777)
    shutil.rmtree(base)


@pytest.mark.skipif(sys.platform == "win32", reason="rights are those of POSIX")
def test_without_the_right_to_write_it_is_said_at_once_and_reading_works(open_folder):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, open_folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for kind in ("file", "folder", "both", "journal"):
        assert found[f"{kind} True"] == 3, found
        assert found[f"{kind} False"].startswith("StoreRefused: "), found
        assert "open it with read_only=True to read it" in found[f"{kind} False"]
    assert "has no room for its journal, its folder may not be written" in found["folder False"]
    assert "may not be written by this user" in found["file False"]
    assert "its folder " in found["new"]
    assert "cannot be made: Permission denied" in found["deep"]
