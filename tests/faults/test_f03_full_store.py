"""F3: the disk of a durable lab fills up: emits go on, the state says so, nothing committed is lost, all is kept later."""

import os
import subprocess
import sys

import pytest

FILLING = """
import asyncio, resource, signal, sys, time
import crucible_telemetry as ct

async def main(url):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("full")
        for number in range(1_000):
            await ct.execute("fault.numbered", {"n": number}, {"text": "x" * 100})
        assert (await exp.flush()).complete
        import os
        size = max(os.path.getsize(url + end) for end in ("", "-wal"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        began = time.monotonic()
        for number in range(1_000, 5_000):
            await ct.execute("fault.numbered", {"n": number}, {"text": "x" * 100})
        while exp.health().store.state != "waiting":
            assert time.monotonic() - began < 1.5, exp.health().store
            await asyncio.sleep(0.02)
        done = await exp.flush()
        assert done.failed > 0 and not done.complete, done
        assert done.failed == exp.health().store.waiting
        print(done, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while not (await exp.flush()).complete:
            assert time.monotonic() - began < 20
        assert exp.health().store.state == "ok"
        numbers = [event.measurements["n"] for event in await exp.events()]
        assert numbers == list(range(5_000))
        assert exp.counts.emitted == exp.counts.accounted == 5_000
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert [event.measurements["n"] for event in await exp.events()] == list(range(5_000))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_f03_a_full_disk_is_said_and_waited_for(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FILLING, tmp_path / "runs.db"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert "failed=" in done.stdout
