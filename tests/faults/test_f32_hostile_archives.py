"""F29 and F32: an archive that somebody made to do harm: nothing is written or read outside, limits hold, nothing is run."""

import gzip
import hashlib
import json
import os
import pickle

import msgspec
import pytest
import pytest_asyncio
from faults import resident

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreDamaged, StoreError
from crucible_telemetry.export import manifest as contents

pytestmark = pytest.mark.asyncio
REFUSED = (ct.UnreadableFile, StoreDamaged)


@pytest_asyncio.fixture
async def archive(tmp_path):
    async with ct.Lab() as lab:
        async with lab.experiment("a") as exp:
            for i in range(100):
                ct.execute_nowait("x", {"i": i})
            async with exp.trial(item="q"):
                pass
        await exp.archive(tmp_path / "in/a", format="jsonl")
    return tmp_path / "in/a"


def snapshot(folder):
    """Every name below, and what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path)] = path.read_bytes() if plain else os.lstat(path).st_mode
    return found


def inside(archive):
    return json.loads((archive / "manifest.json").read_text())["archive"]


def sealed(archive, said):
    """Write a manifest whose own hash is right."""
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    seal = hashlib.sha256(data).hexdigest().encode()
    (archive / "manifest.json").write_bytes(b'{"sha256": "%s", "archive": %s}' % (seal, data))


def put(archive, kind, content, *, packed=None, **changes):
    """Another content for the first part of a kind, under a name and hash that fit it."""
    data = gzip.compress(content, mtime=0) if packed is None else packed
    said = inside(archive)
    part = next(p for p in said["parts"] if p["kind"] == kind)
    sha256 = hashlib.sha256(data).hexdigest()
    part["path"] = part["path"].replace(part["sha256"][:16], sha256[:16])
    part |= {"sha256": sha256, "bytes": len(data), **changes}
    (archive / part["path"]).write_bytes(data)
    sealed(archive, said)


async def refused(archive, match=":", errors=REFUSED):
    folder = archive.parent.parent
    before = snapshot(folder)
    async with ct.Lab() as lab:
        with pytest.raises(errors, match=match) as told:
            await lab.restore(archive)
        assert lab.list_experiments() == []
    assert snapshot(folder) == before
    return told.value


PATHS = [
    "../x", "/etc/passwd", "blocks/../../x", "blocks/\0", "CON", "blocks/con.ctb.gz", "a" * 300, "blocks//x",
    "..\\x", "C:\\x", "blocks/．．/x", "blocks/\u202ex", "", ".", "manifest.json", "blocks/" + "é" * 300,
    "file:///etc/passwd", "blocks/000000000001-000000000100-0000000000000000.ctb.gz\n", "blocks/٠٠٠٠٠٠٠٠٠٠٠١-000000000100-0000000000000000.ctb.gz",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["block"])
async def test_f29_a_member_of_an_archive_has_a_name_of_ours_or_none(archive, path, kind):
    said = inside(archive)
    next(p for p in said["parts"] if p["kind"] == kind)["path"] = path
    sealed(archive, said)
    await refused(archive, "is no name of a part of an archive")


@pytest.mark.parametrize("name", ["blocks", "trials"])
async def test_f29_a_folder_that_is_a_link_is_not_written_through(archive, tmp_path, name):
    outside = tmp_path / "out"
    outside.mkdir()
    target = tmp_path / "new"
    target.mkdir()
    (target / name).symlink_to(outside)
    async with ct.Lab() as lab:
        back = await lab.restore(archive)
        with pytest.raises(StoreError, match="is a link to elsewhere"):
            await back.archive(target, format="jsonl")
        assert back.state == "stopped"
    assert list(outside.iterdir()) == []


async def test_f29_a_part_that_is_a_link_a_pipe_or_a_folder_is_not_read(archive, tmp_path):
    (block,) = (archive / "blocks").iterdir()
    content = block.read_bytes()
    makers = [
        lambda: (tmp_path / "b").write_bytes(content) and block.symlink_to(tmp_path / "b"),
        lambda: os.mkfifo(block),
        block.mkdir,
        lambda: block.symlink_to("/dev/zero"),
    ]
    for make in makers:
        block.rmdir() if block.is_dir() and not block.is_symlink() else block.unlink()
        make()
        await refused(archive, errors=(*REFUSED, StoreError))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": 2}, "it has format 2; this version reads 1"),
        ({"format": "tar"}, "is of another program"),
        ({"id": ""}, "is no name of an experiment"),
        ({"id": "x" * 5000}, "is no name of an experiment"),
        ({"id": "a\0b"}, "is no name of an experiment"),
        ({"name": "other"}, "the record is of another experiment"),
        ({"events": 10**18}, "are in no part"),
        ({"events": 99}, "not whole"),
        ({"trials": 5}, "other trials"),
        ({"parts": []}, "no record of an experiment"),
        ({"events": -1}, "not whole"),
    ],
)
async def test_f32_a_manifest_that_does_not_fit_is_refused(archive, change, match):
    sealed(archive, inside(archive) | change)
    await refused(archive, match)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b"PK\x03\x04", pickle.dumps({"a": 1}), b"[" * 1_000_000,
        b'{"sha256": "", "archive": ' + b"[" * 1_000_000, b'{"archive": 5}',
        b'{"sha256": "x", "archive": {"format": "crucible-archive"}}',
    ],
    ids=range(11),
)  # fmt: skip
async def test_f32_what_is_no_manifest_is_refused(archive, data):
    (archive / "manifest.json").write_bytes(data)
    await refused(archive, "manifest")


async def test_f32_a_manifest_that_is_deep_or_huge_is_refused(archive):
    said = json.dumps(inside(archive)).encode()[:-1]
    sealed(archive, b'{"format":"crucible-archive","version":1,"environment":' + b"[" * 500_000)
    await refused(archive)
    deep = said + b', "more": ' + b"[" * 400_000 + b"]" * 400_000 + b"}"
    sealed(archive, deep)
    await refused(archive, "deep")
    with (archive / "manifest.json").open("wb") as file:
        file.truncate(contents.MAX_MANIFEST_BYTES + 1)
    await refused(archive, "no file of an archive has more")


def garbage_rows(row):
    """A block that is one in form, with this row a hundred times."""
    import numpy as np
    from make import columns

    from crucible_telemetry.events.columns import Payload
    from crucible_telemetry.stores.blocks import encoded

    made = columns(100, shape=np.ones(100, int))
    made.payload = Payload.of([row] * 100)
    return encoded(made)


PICKLE = pickle.dumps(os.system)


def headed(*header):
    """How a block with this header begins."""
    data = msgspec.msgpack.encode(header)
    return b"CTB1" + len(data).to_bytes(4, "little") + data


CONTENTS = {
    "nothing": b"",
    "garbage": b"CTB1" + b"\xff" * 1000,
    "pickle": PICKLE,
    "a header of a billion rows": headed(1, 10**9, [["timestamp_us", "i8"]]),
    "minus one rows": headed(1, -1, [["timestamp_us", "i8"]]) + bytes(80),
    "objects": headed(1, 100, [["timestamp_us", "O"]]) + bytes(8000),
    "no columns": headed(1, 100, []) + bytes(404),
    "deep rows": garbage_rows(b"\x91" * 50_000 + b"\xc0"),
    "rows that are no list": garbage_rows(b"\x05"),
    "rows of another length": garbage_rows(msgspec.msgpack.encode([1, 1, 0, None, 1, 2, 3])),
    "rows that end too early": garbage_rows(b"\xdd\x7f\xff\xff\xff"),
}


@pytest.mark.parametrize("content", CONTENTS)
async def test_f32_a_block_that_is_none_is_refused(archive, content):
    put(archive, "block", CONTENTS[content])
    await refused(archive, errors=ct.UnreadableFile)


@pytest.mark.parametrize("kind", ["experiment", "trials"])
@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xc0", PICKLE, b"\x91" * 200_000, b"\xdd\x7f\xff\xff\xff",
        msgspec.msgpack.encode([b"", []]), msgspec.msgpack.encode([b"x", [["shape", 7, ["a", [], []]]]]),
        msgspec.msgpack.encode([b"x", [["shape", 1, [1, 2]]]]), msgspec.msgpack.encode([b"x", [["colour", 1, 1]]]),
        msgspec.msgpack.encode([[1, b"\x91" * 100_000]]), msgspec.msgpack.encode([[1, b""]]),
        msgspec.msgpack.encode([[2**40, msgspec.msgpack.encode([True, {"number": 2**40, "item": "x"}])]]),
    ],
    ids=range(12),
)  # fmt: skip
async def test_f32_a_record_that_is_none_is_refused(archive, kind, content):
    put(archive, kind, content)
    await refused(archive, errors=ct.UnreadableFile)


@pytest.mark.skipif(not resident.PRESENT, reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["block", "trials", "experiment"])
async def test_f32_a_bomb_takes_no_more_than_100_mb(archive, kind):
    bomb = gzip.compress(bytes(2**26), 1, mtime=0) * 8
    put(archive, kind, b"", packed=bomb)
    resident.forget_peak()
    before = resident.peak_bytes()
    await refused(archive, "unpacks to more than|no whole gzip", ct.UnreadableFile)
    assert resident.peak_bytes() - before < 100 * 2**20


async def test_f32_parts_that_the_manifest_does_not_name_are_not_looked_at(archive):
    for name in ("blocks/000000000101-000000000200-0123456789abcdef.ctb.gz", "evil.py", "trials/x"):
        (archive / name).write_bytes(PICKLE)
    async with ct.Lab() as lab:
        assert (await lab.restore(archive)).counts.stored == 100


@pytest.mark.parametrize("kind", ["experiment", "trials", "block"])
async def test_f32_a_part_that_is_named_twice_or_not_there_is_refused(archive, kind):
    said = inside(archive)
    part = next(p for p in said["parts"] if p["kind"] == kind)
    sealed(archive, said | {"parts": [*said["parts"], part]})
    await refused(archive, "twice")
    sealed(archive, said)
    (archive / part["path"]).unlink()
    await refused(archive, "not there")


@pytest.mark.skipif(not resident.PRESENT, reason="needs Linux's /proc")
async def test_f32_a_manifest_of_ten_thousand_parts_takes_no_more_than_100_mb(archive):
    said = inside(archive)
    part = next(p for p in said["parts"] if p["kind"] == "trials")
    parts = [
        part | {"path": f"trials/{i:016x}.msgpack.gz", "sha256": f"{i:016x}" * 4, "rows": 0}
        for i in range(10_000)
    ]
    sealed(archive, said | {"parts": [*said["parts"], *parts]})
    assert (archive / "manifest.json").stat().st_size < contents.MAX_MANIFEST_BYTES
    del parts
    resident.forget_peak()
    before = resident.peak_bytes()
    await refused(archive, "and 9980 more", StoreDamaged)
    assert resident.peak_bytes() - before < 100 * 2**20


async def test_f32_a_part_that_is_larger_than_any_is_not_read(archive):
    (block,) = (archive / "blocks").iterdir()
    with block.open("r+b") as file:
        file.truncate(2**33)
    resident.forget_peak()
    before = resident.peak_bytes()
    async with ct.Lab() as lab:
        with pytest.raises(StoreDamaged, match="no file of an archive has more"):
            await lab.restore(archive)
    assert resident.peak_bytes() - before < 100 * 2**20
    block.unlink()
