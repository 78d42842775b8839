"""F3: a disk that is full, a folder that may not be written: an export says so, and nothing torn is left."""

import subprocess
import sys

import pytest

import crucible_telemetry as ct

PROGRAM = """
import asyncio, resource, signal, sys
import crucible_telemetry as ct

async def main(folder, ending):
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("full", capture="process", events="a")
        for i in range(20_000):
            await ct.execute("a", {"x": i * 7919}, {"note": str(hash(i))})
        target = f"{folder}/e{ending}"
        open(target, "w").write("old")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            await exp.export(target)
        except ct.ExportError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert open(target).read() == "old"
        await ct.execute("a", {"x": 1})
        assert exp.counts.stored + exp.counts.in_flight == 20_001
        await exp.export(target)
        print(sum(1 for _ in ct.read_events(target)))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".csv.gz"])
def test_f03_a_full_disk_is_told_and_the_next_export_is_whole(tmp_path, ending):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), ending],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told, count = run.stdout.splitlines()
    assert "cannot export to" in told
    assert "File too large" in told
    assert count == "20001"
    assert [path.name for path in tmp_path.iterdir()] == [f"e{ending}"]


@pytest.mark.asyncio
async def test_f03_a_device_without_room_is_no_target_and_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a")
        for path in ("/dev/full", tmp_path / "file" / "e.csv", "/proc/none/e.csv"):
            with pytest.raises(ct.ExportError):
                await exp.export(path, format="csv")
        assert len(await exp.events()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
