"""The table of contents of an archive: what there is, how large, with which hash; and what is believed of one. PURE.

::

    manifest.json                             {"sha256": …, "archive": {…}}: the hash is of the bytes behind it
    experiment-HASH.msgpack.gz                [record, words]: options, life, counts; shapes, models, errors
    trials/HASH.msgpack.gz                    [[number, trial], …], some thousand a file
    blocks/FIRST-LAST-HASH.ctb.gz             events by seq, as a store keeps them (`stores.blocks`): the truth
    events/FIRST-LAST-HASH.parquet|jsonl.gz   the same events for people and other programs, as `export` has them
    tables/HASH.parquet|jsonl.gz              the trials for them

`HASH`: the first 16 digits of the SHA-256 of the file. A file never changes, so a new manifest takes the place of
an old one in one step. Of a manifest nothing is believed: names are of the form above (so no way leads out of
the archive), sizes have limits, events have to be 1, 2, 3 … without a gap.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

NAME: Final = "manifest.json"
FORMAT: Final = "crucible-archive"
VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 16 * 2**20
MAX_PACKED_BYTES: Final = 32 * 2**20
"""A file of an archive: larger ones are neither written nor read."""
MAX_UNPACKED_BYTES: Final = 48 * 2**20
KINDS: Final = ("experiment", "trials", "block", "events", "table")
NEEDED: Final = KINDS[:3]
"""Kinds that are restored; the others are copies for people."""

_PATH: Final = re.compile(
    r"experiment-[0-9a-f]{16}\.msgpack\.gz"
    r"|trials/[0-9a-f]{16}\.msgpack\.gz"
    r"|blocks/[0-9]{12,18}-[0-9]{12,18}-[0-9a-f]{16}\.ctb\.gz"
    r"|events/[0-9]{12,18}-[0-9]{12,18}-[0-9a-f]{16}\.(parquet|jsonl\.gz)"
    r"|tables/[0-9a-f]{16}\.(parquet|jsonl\.gz)"
).fullmatch
_SHA256: Final = re.compile(r"[0-9a-f]{64}").fullmatch
_FOLDERS: Final = {"experiment": "experiment-", "trials": "trials/", "block": "blocks/",
                   "events": "events/", "table": "tables/"}  # fmt: skip
_MAX_NAME: Final = 1000


class Part(Struct, frozen=True, kw_only=True):
    """One file of an archive: `rows` events from seq `first` on, or so many trials."""

    path: str
    kind: str
    bytes: int
    sha256: str
    first: int = 0
    rows: int = 0

    @property
    def what(self) -> str:
        """What is missing when it is."""
        if self.kind in ("block", "events"):
            return f"events {self.first} to {self.first + self.rows - 1}"
        return f"{self.rows} trials" if self.rows else "the record of the experiment"


class Manifest(Struct, frozen=True, kw_only=True):
    """An archive's table of contents. `complete` is False while the experiment goes on: a checkpoint."""

    format: str = FORMAT
    version: int = VERSION
    id: str
    name: str
    state: str
    complete: bool
    events: int
    trials: int
    written_us: int
    options: dict[str, Any]
    counts: dict[str, Any]
    environment: dict[str, Any]
    parts: tuple[Part, ...]

    def of(self, kind: str) -> list[Part]:
        """The parts of a kind, in order."""
        return [part for part in self.parts if part.kind == kind]


class _Sealed(Struct):
    sha256: str
    archive: msgspec.Raw


def path_of(kind: str, ending: str, sha256: str, first: int = 0, rows: int = 0) -> str:
    """The name of a file in an archive."""
    span = f"{first:012}-{first + rows - 1:012}-" if kind in ("block", "events") else ""
    return f"{_FOLDERS[kind]}{span}{sha256[:16]}.{ending}"


def packed(manifest: Manifest) -> bytes:
    """A manifest as the bytes of its file."""
    inside = msgspec.json.format(msgspec.json.encode(manifest, enc_hook=repr), indent=1)
    seal = hashlib.sha256(inside).hexdigest()
    return b'{"sha256": "%s",\n"archive": %s}\n' % (seal.encode(), inside)


def read(data: bytes) -> Manifest:
    """The manifest in these bytes; ValueError says what is wrong with it."""
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
        inside = bytes(sealed.archive)
        if hashlib.sha256(inside).hexdigest() != sealed.sha256:
            raise ValueError(f"{NAME} is not as it was written (its SHA-256 differs)")
        head = msgspec.json.decode(inside, type=_Head)
        if head.format != FORMAT:
            raise ValueError(f"{NAME} is of another program: {head.format[:40]!r}")
        if head.version != VERSION:
            raise ValueError(f"it has format {head.version}; this version reads {VERSION}")
        manifest = msgspec.json.decode(inside, type=Manifest)
    except RecursionError:
        raise ValueError(f"{NAME} is nested too deep") from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{NAME}: {error}") from error
    _check(manifest)
    return manifest


class _Head(Struct):
    format: str
    version: int


def _check(manifest: Manifest) -> None:
    for name in (manifest.id, manifest.name):
        if not 0 < len(name) <= _MAX_NAME or "\0" in name:
            raise ValueError(f"{name[:40]!r} is no name of an experiment")
    for part in manifest.parts:
        _check_part(part)
    if len({part.path for part in manifest.parts}) < len(manifest.parts):
        raise ValueError("a part comes twice")
    if len(manifest.of("experiment")) != 1:
        raise ValueError("it has no record of an experiment, or several")
    check_contiguous(manifest.of("block"), manifest.events)
    if sum(part.rows for part in manifest.of("trials")) != manifest.trials:
        raise ValueError(f"its parts hold other trials than the {manifest.trials} it names")


def _check_part(part: Part) -> None:
    shown = repr(part.path[:80])
    if (
        part.kind not in KINDS
        or not _PATH(part.path)
        or not part.path.startswith(_FOLDERS[part.kind])
    ):
        raise ValueError(f"{shown} is no name of a part of an archive")
    if not _SHA256(part.sha256) or part.sha256[:16] not in part.path:
        raise ValueError(f"{shown} has no hash")
    if not 0 <= part.bytes <= MAX_PACKED_BYTES or not 0 <= part.rows <= MAX_UNPACKED_BYTES:
        raise ValueError(f"{shown} is larger than a part may be")


def check_contiguous(blocks: Sequence[Part], events: int) -> None:
    """ValueError names the events that no block holds."""
    expected = 1
    for part in blocks:
        if part.first != expected or part.rows < 1:
            raise ValueError(
                f"its events are not whole: {expected} to {part.first - 1} are in no part"
            )
        expected += part.rows
    if expected - 1 != events:
        raise ValueError(f"its events are not whole: {expected} to {events} are in no part")
