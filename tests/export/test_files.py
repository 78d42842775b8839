"""Which files are written, and when: names, formats, folders, one moment, nothing torn."""

import asyncio
import gzip
import json
import sys

import pytest
import pytest_asyncio

import crucible_telemetry as ct
from crucible_telemetry.export import walk

pytestmark = pytest.mark.asyncio
T0 = 1_700_000_000_000_000


def tree(folder):
    """Every path below a folder, with its content."""
    return {
        p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")
    }


@pytest_asyncio.fixture
async def exp():
    async with ct.Lab() as lab:
        yield await lab.start_experiment("run one", capture="process", events="a*")


async def test_without_a_path_the_file_is_named_after_experiment_and_second(
    exp, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    await ct.execute("a", {"x": 1})
    here = await exp.export()
    again = await exp.export(format="csv", compression="gz")
    assert here.name.startswith("run one_20")
    assert here.name.endswith("Z.jsonl")
    assert again.name.endswith("Z.csv.gz")
    assert gzip.decompress(again.read_bytes()).startswith(b"seq,")
    folder = tmp_path / "out"
    folder.mkdir()
    paths = {await exp.export(folder) for _ in range(3)}
    assert len(paths) == 3
    assert {path.parent for path in paths} == {folder}


@pytest.mark.parametrize(
    "name",
    [
        "../../up",
        "/etc/passwd",
        "a\x00b",
        "CON",
        "x" * 300,
        "a/b\\c",
        "．．／x",
        "\u202ecsv",
        "-",
        "~",
    ],
)
async def test_f29_no_name_of_an_experiment_leads_out_of_the_folder(tmp_path, name):
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    before = tree(tmp_path)
    async with ct.Lab() as lab:
        exp = await lab.start_experiment(name, capture="scope")
        path = await exp.export(inside)
    assert path.parent == inside
    assert path.name.isprintable()
    assert tree(tmp_path).keys() - before.keys() == {path.relative_to(tmp_path)}


@pytest.mark.parametrize(
    ("path", "options", "match"),
    [
        ("e.xlsx", {}, r"'e.xlsx' does not say its format.*\.csv, \.jsonl"),
        ("e", {}, "does not say its format"),
        ("e.gz", {}, "does not say its format"),
        ("e.csv", {"format": ".csv"}, "want one of csv, jsonl"),
        ("e.csv", {"compression": "rar"}, "want one of gz, zst"),
        ("e.csv", {"colums": ["seq"]}, "colums: unknown option"),
        ("e.csv", {"columns": "seq"}, "list of names"),
        ("e.csv", {"columns": ["seq", "seq"]}, "twice"),
        ("e.csv", {"transformers": {"seq": 1}}, "callables"),
        ("e.csv", {"where": "model"}, "where"),
        ("e.csv", {"flat": 1}, "flat"),
    ],
)
async def test_what_cannot_be_written_is_said_before_anything_is(
    exp, tmp_path, path, options, match
):
    with pytest.raises(ct.ConfigurationError, match=match):
        await exp.export(tmp_path / "new" / path, **options)
    assert tree(tmp_path) == {}


async def test_events_that_came_in_any_order_are_written_in_order_of_time(
    exp, tmp_path, monkeypatch
):
    monkeypatch.setattr(walk, "STRETCH", 256)
    monkeypatch.setattr(walk, "SAMPLE", 4)
    times = [T0 + (i * 7919) % 3000 for i in range(4000)]
    times += [T0 + 1500] * 1500 + [T0 - 1]
    for at_us in times:
        await ct.execute("a", {"x": at_us}, at_us=at_us)
    path = await exp.export(tmp_path / "e.jsonl")
    seqs = [json.loads(line)["seq"] for line in path.read_text().splitlines()]
    assert seqs == [event.seq for event in await exp.events()]
    some = await exp.export(tmp_path / "some.jsonl", where=ct.Where(measurement={"x": T0 + 1500}))
    seqs = [json.loads(line)["seq"] for line in some.read_text().splitlines()]
    assert len(seqs) > 1500
    assert seqs == sorted(seqs)


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
async def test_an_export_of_a_running_experiment_is_of_one_moment(exp, tmp_path, ending):
    for i in range(3000):
        await ct.execute("a", {"x": i})

    async def more():
        for i in range(2000):
            await ct.execute("a", {"x": i, f"y{i}": 1})
            await asyncio.sleep(0)

    adding = asyncio.create_task(more())
    path = await exp.export(tmp_path / f"e{ending}")
    assert not adding.done()
    await adding
    seqs = [event.seq for event in ct.read_events(path)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert 3000 <= len(seqs) < 5000
    assert (await exp.metrics()).summary.total_events == 5000


@pytest.mark.parametrize("ending", [".jsonl", ".csv.gz"])
async def test_f13_an_export_that_is_cancelled_leaves_nothing(exp, tmp_path, ending):
    for i in range(2000):
        await ct.execute("a", {"x": i})
    (tmp_path / f"e{ending}").write_text("old")
    for cut in range(1, 12):
        task = asyncio.create_task(exp.export(tmp_path / f"e{ending}"))
        for _ in range(cut):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tree(tmp_path) == {(tmp_path / f"e{ending}").relative_to(tmp_path): b"old"}
    assert cut > 3
    assert len(await exp.events()) == 2000


async def test_a_data_loss_meanwhile_is_no_short_file(exp, tmp_path):
    for i in range(30_000):
        await ct.execute("a", {"x": i})
    task = asyncio.create_task(exp.export(tmp_path / "e.jsonl"))
    for _ in range(4):
        await asyncio.sleep(0)
    await exp.cleanup()
    with pytest.raises(ct.LifecycleError, match="cleaned up"):
        await task
    assert tree(tmp_path) == {}


async def test_what_is_no_file_is_not_replaced(exp, tmp_path):
    with pytest.raises(ct.ExportError, match="no regular file"):
        await exp.export("/dev/null", format="csv")
    with pytest.raises(ct.ExportError, match="no name of a file"):
        await exp.export(f"{tmp_path}/a\0b.csv")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("x" * 300 + ".csv", ct.ExportError),
        ("a\ud800.csv", ct.ExportError),
        (b"bytes.csv", None),
        (3, ct.ConfigurationError),
    ],
)
async def test_f29_a_path_that_cannot_be_is_an_error_of_this_library(
    exp, tmp_path, monkeypatch, name, error
):
    monkeypatch.chdir(tmp_path)
    if error is None:
        assert (await exp.export(name)).read_bytes().startswith(b"seq,")
        return
    with pytest.raises(error):
        await exp.export(name)
    assert tree(tmp_path) == {}


async def test_a_stream_has_the_bytes_of_the_file(exp, tmp_path):
    for i in range(1500):
        await ct.execute("a", {"x": i}, {"t": "=1"})
    for ending in ("csv", "jsonl"):
        path = await exp.export(tmp_path / f"e.{ending}")
        chunks = [chunk async for chunk in exp.stream(ending)]
        assert b"".join(chunks) == path.read_bytes()
        assert len(chunks) > 2
        packed = b"".join([chunk async for chunk in exp.stream(ending, compression="gz")])
        assert gzip.decompress(packed) == path.read_bytes()
    with pytest.raises(ct.ConfigurationError, match="format"):
        await anext(exp.stream("xml"))


@pytest.mark.parametrize("ending", [".csv", ".jsonl.gz"])
async def test_several_experiments_go_to_one_file_or_to_one_each(tmp_path, ending):
    async with ct.Lab() as lab:
        ids = []
        for key in ("x", "y"):
            exp = await lab.start_experiment("same name", condition=key, capture="scope")
            with exp.scope():
                await ct.execute("a", {key: 1})
            ids.append(exp.id)
        (both,) = await lab.export_multiple(ids, tmp_path / f"both{ending}")
        assert [event.condition for event in ct.read_events(both)] == ["x", "y"]
        assert [event.measurements for event in ct.read_events(both)] == [{"x": 1}, {"y": 1}]
        assert await (await ct.load(both, experiment=ids[1])).events() == await exp.events()
        each = await lab.export_multiple(ids, tmp_path / "each", format="csv")
        assert len(set(each)) == 2
        assert [[event.condition for event in ct.read_events(path)] for path in each] == [
            ["x"],
            ["y"],
        ]
        for wrong in ([], [ids[0], ids[0]], ids[0]):
            with pytest.raises(ct.ConfigurationError, match="experiment_ids"):
                await lab.export_multiple(wrong, tmp_path / "z.csv")
        with pytest.raises(ct.UnknownExperiment):
            await lab.export_multiple(["nobody"], tmp_path / "z.csv")


async def test_export_on_exit_takes_every_format(tmp_path):
    for ending in (".csv", ".csv.gz", ".jsonl.zst"):
        path = tmp_path / f"e{ending}"
        async with ct.Lab() as lab, lab.experiment("e", export_on_exit=path):
            await ct.execute("a", {"x": 1})
        assert [event.measurements for event in ct.read_events(path)] == [{"x": 1}]


async def test_without_zstandard_zst_names_the_extra_before_anything_runs(
    exp, tmp_path, monkeypatch
):
    monkeypatch.setattr("crucible_telemetry.collect.formats.find_spec", lambda name: None)
    told = r"pip install 'crucible-telemetry\[zstd\]'"
    with pytest.raises(ct.ConfigurationError, match=told):
        await exp.export(tmp_path / "e.csv.zst")
    async with ct.Lab() as lab:
        with pytest.raises(ct.ConfigurationError, match=told):
            await lab.start_experiment("b", export_on_exit=tmp_path / "e.jsonl.zst")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "e.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(ct.ConfigurationError, match=told):
        await ct.load(tmp_path / "e.jsonl.zst")
