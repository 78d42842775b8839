"""A store of one's own: an append-only log file, written at each commit, read back when it is opened again.

A frame of the log is its length, a digest, and a block of events. A crash in the middle of a write leaves a
torn frame at the end, which nobody was told is safe: it is cut away. Anything else that is not as it was
written is an error. Reads are answered from memory: for logs that fit there.
"""

import asyncio
import os
from functools import partial
from pathlib import Path

import anyio

import crucible_telemetry as ct
from crucible_telemetry.stores import (
    MemoryStore,
    Query,
    StoreDamaged,
    StoreReader,
    decode,
    digest,
    encode,
)

DIGEST_BYTES = 16
HEAD_BYTES = 8 + DIGEST_BYTES


class LogStore(MemoryStore):
    """Events of one experiment in the file at `path`."""

    def __init__(self, path: Path, experiment_id: str, reader: StoreReader) -> None:
        super().__init__(reader)
        self._path, self._id, self._words = path, experiment_id, reader
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._good_bytes = self._read()
        self._kept_seq = self.last_seq

    def _read(self) -> int:
        """Take what the log holds; returns where its last whole frame ends."""
        log, at = self._path.read_bytes(), 0
        while at + HEAD_BYTES <= len(log):
            end = at + HEAD_BYTES + int.from_bytes(log[at : at + 8], "little")
            block = log[at + HEAD_BYTES : end]
            whole = end <= len(log) and digest(block) == log[at + 8 : at + HEAD_BYTES]
            if not whole and end < len(log):
                raise StoreDamaged(str(self._path), f"events behind {self.last_seq}: bytes changed")
            if not whole:
                break
            self.append(decode(block, self._words))
            at = end
        return at

    async def commit(self) -> None:
        """Write what was appended since the last commit as one frame, and wait for the disk."""
        upto = self.last_seq
        new = Query(after_seq=self._kept_seq, upto_seq=upto)
        blocks = [encode(part, self._words) async for part in self.columns(new)]
        await anyio.to_thread.run_sync(self._write, blocks)
        self._kept_seq = upto

    def _write(self, blocks: list[bytes]) -> None:
        frames = [len(b).to_bytes(8, "little") + digest(b) + b for b in blocks]
        with self._path.open("r+b") as log:
            log.truncate(self._good_bytes)  # what an earlier try left
            log.seek(self._good_bytes)
            log.writelines(frames)
            log.flush()
            os.fsync(log.fileno())
        self._good_bytes += sum(map(len, frames))

    async def close(self, *, delete: bool = False) -> None:
        """Commit; `delete` removes the file."""
        if not delete:
            await self.commit()
        await super().close(delete=delete)
        if delete:
            self._path.unlink(missing_ok=True)


async def run(path: Path, calls: int) -> None:
    """Some calls of one experiment whose events are in `path`; a second run goes on behind them."""
    async with ct.Lab() as lab, lab.experiment("logged", store=partial(LogStore, path)) as exp:
        print(f"opened {path.name} with {exp.counts.stored} events")
        for number in range(calls):
            async with ct.llm_call(provider="local", model="tiny") as call:
                call.usage(input_tokens=10 + number, output_tokens=5)
        print(await exp.flush(), exp.health().store.state)
        print(f"{exp.live().tokens.total:,} tokens in {exp.live().latency.count} calls")


if __name__ == "__main__":
    log = Path("runs") / "logged.log"
    asyncio.run(run(log, calls=20))
    with log.open("ab") as torn:
        torn.write(b"\xff\x00 half a frame: the machine went down")
    asyncio.run(run(log, calls=10))
