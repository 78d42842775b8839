"""JSON Lines: what was stored comes back; nothing torn is ever seen."""

import gzip
import json

import pytest

import crucible_telemetry as ct


@pytest.mark.parametrize("name", ["deep/er/run.jsonl", "run.jsonl.gz"])
@pytest.mark.asyncio
async def test_every_event_is_a_line_with_its_values(tmp_path, name):
    async with ct.Lab() as lab, lab.experiment("e", condition="c", tags=["t"]) as exp:
        for n in range(5000):
            await ct.execute(
                "a.stop", {"duration": n}, {"note": 'line\nbreak "ü"\u2028', "n": [n, {}]}
            )
        path = await exp.export(tmp_path / name)
    data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    lines = [json.loads(line) for line in data.splitlines()]
    assert [line["measurements"]["duration"] for line in lines] == list(range(5000))
    assert [line["seq"] for line in lines] == list(range(1, 5001))
    assert lines[7]["metadata"] == {"note": 'line\nbreak "ü"\u2028', "n": [7, {}]}
    assert lines[7]["latency_ms"] == 7 / 1e6
    assert (lines[7]["condition"], lines[7]["tags"], lines[7]["outcome"]) == ("c", ["t"], "ok")
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.asyncio
async def test_f11_odd_values_make_valid_json(tmp_path):
    odd = {
        "nan": float("nan"),
        "inf": float("-inf"),
        "b": b"\xff",
        "k": {1: 2, None: 3},
        "h": 10**40,
    }
    async with ct.Lab() as lab, lab.experiment("e\ud800") as exp:
        await ct.execute("odd\ud800", {"key\ud800": 1}, odd)
        path = await exp.export(tmp_path / "odd.jsonl")
    (line,) = path.read_text().splitlines()
    event = json.loads(line, parse_constant=pytest.fail)
    assert event["metadata"]["nan"] == "NaN"
    assert event["metadata"]["inf"] == "-Infinity"
    assert event["metadata"]["k"] == {"1": 2, "None": 3}
    assert event["event_name"] == "odd\\ud800"
    assert event["measurements"] == {"key\\ud800": 1}


@pytest.mark.asyncio
async def test_f03_where_it_cannot_be_written_the_error_says_why_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a")
        with pytest.raises(ct.ExportError, match=r"run\.jsonl"):
            await exp.export(tmp_path / "file" / "run.jsonl")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.asyncio
async def test_an_empty_experiment_exports_an_empty_file(tmp_path):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        path = await exp.export(tmp_path / "none.jsonl")
    assert path.read_bytes() == b""
