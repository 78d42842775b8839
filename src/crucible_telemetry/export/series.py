"""Training metrics as JSON Lines: one append-only file for each run."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Self

import anyio.to_thread
import msgspec
from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.export.names import safe_file_name
from crucible_telemetry.stores.recording import Recording
from crucible_telemetry.stores.series import MetricPoint

BUFFERED: Final = 256
"""Points that wait at most; the one that fills the buffer writes it."""
ENDING: Final = ".jsonl"
_APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
_MODE: Final = 0o644


class _Line(Struct, frozen=True, kw_only=True):
    """A point as it is written: numbers that JSON does not have are the texts NaN, inf and -inf."""

    run_id: str
    metric: str
    step: int | None
    value: int | float | str
    timestamp_us: int
    metadata: dict[str, Any]


class JsonlMetricsStore(Recording):
    """A `MetricsStore` in a folder: ``<folder>/<run id>.jsonl``, UTF-8, a line for each point.

    Several processes may append to one run. `record` buffers up to 256 points; `flush`, `close` and
    leaving ``with`` (or ``async with``) write them, and a process that ends without one of these
    loses them. A run id that is no plain file name is written under a safe one, so nothing leaves the
    folder. A line that does not read (torn by a crash) is left out, logged and listed in `damaged`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.damaged: dict[str, tuple[int, ...]] = {}
        """Run id → numbers of the lines that could not be read, as of the last `read` of the run."""
        self._begin()

    def _begin(self) -> None:
        self._waiting: list[MetricPoint] = []
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _check_process(self) -> None:
        """After a fork what waits is the parent's to write, and the lock may be held by nobody."""
        if self._process != os.getpid():
            self._begin()

    def _take(self, point: MetricPoint) -> None:
        """Keep the point until there are 256, and these go to the file."""
        self._check_process()
        self._waiting.append(point)
        if len(self._waiting) >= BUFFERED:
            self.write()

    def write(self) -> None:
        """`flush` for sync code; OSError when the file cannot be written, and nothing is forgotten then."""
        self._check_process()
        with self._lock:
            batch = self._waiting[:]
            left: dict[str, list[MetricPoint]] = {point.run_id: [] for point in batch}
            for point in batch:
                left[point.run_id].append(point)
            try:
                for run_id in list(left):
                    _append(self._path(run_id), left[run_id])
                    del left[run_id]
            finally:
                # One assignment at the front: `record` appends behind it, in any thread, without a lock.
                self._waiting[: len(batch)] = [
                    point for points in left.values() for point in points
                ]

    async def flush(self) -> None:
        """Write what waits, in a thread: after it, other processes see it and the file outlives this one."""
        await anyio.to_thread.run_sync(self.write)

    async def read(self, run_id: str, metric: str | None = None) -> list[MetricPoint]:
        """See `MetricsStore.read`; reads the file in a thread."""
        return await anyio.to_thread.run_sync(self.load, run_id, metric)

    def load(self, run_id: str, metric: str | None = None) -> list[MetricPoint]:
        """`read` for sync code."""
        self.write()
        points, damaged = _parsed(self._path(run_id))
        self.damaged[run_id] = damaged
        if damaged:
            log.warning(
                "%s: %d lines could not be read and are left out: %s",
                self._path(run_id), len(damaged), ", ".join(map(str, damaged[:20])),
            )  # fmt: skip
        return [p for p in points if p.run_id == run_id and metric in (None, p.metric)]

    def close(self) -> None:
        """Write what waits; recording may go on afterwards."""
        self.write()

    def _path(self, run_id: str) -> Path:
        if not isinstance(run_id, str) or not run_id:
            raise ConfigurationError("run_id", f"want text, not {run_id!r}")
        return self.folder / f"{safe_file_name(run_id)}{ENDING}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):  # a cancelled training keeps what it has recorded
            await self.flush()


def _append(path: Path, points: Iterable[MetricPoint]) -> None:
    """One write, so that lines of several processes do not mix; a torn end is ended first."""
    block = b"".join(map(_written, points))
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, _APPEND, _MODE)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            block = b"\n" + block
        while block:  # a full disk raises; a short write goes on where it stopped
            block = block[os.write(file, block) :]
    finally:
        os.close(file)


def _written(point: MetricPoint) -> bytes:
    value = _plain(point.value)
    line = _Line(
        run_id=point.run_id,
        metric=point.metric,
        step=point.step,
        value=value,
        timestamp_us=point.timestamp_us,
        metadata=_plain(point.metadata),
    )
    return msgspec.json.encode(line) + b"\n"


def _plain(value: Any) -> Any:
    """Numbers that JSON does not have as texts; msgspec would write null."""
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _parsed(path: Path) -> tuple[list[MetricPoint], tuple[int, ...]]:
    """The points of a file, and the numbers of the lines that are none."""
    points, damaged = [], []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        lines = []
    for number, text in enumerate(lines, 1):
        if not text:
            continue
        try:
            points.append(_read(text))
        except (msgspec.MsgspecError, ValueError):
            damaged.append(number)
    return points, tuple(damaged)


def _read(text: bytes) -> MetricPoint:
    line = msgspec.json.decode(text, type=_Line)
    return MetricPoint(
        run_id=line.run_id,
        metric=line.metric,
        value=float(line.value) if isinstance(line.value, str) else line.value,
        step=line.step,
        timestamp_us=line.timestamp_us,
        metadata=line.metadata,
    )
