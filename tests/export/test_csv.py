"""CSV: the union of all columns, every value in a cell that three readers understand."""

import csv
import io
import json
import math
import shutil

import anyio
import pytest
from hypothesis import given, strategies as st
from strategies import JSON, TEXT

import crucible_telemetry as ct
from crucible_telemetry.export.cells import (
    cell,
    cells,
    column_name,
    column_path,
    flattened,
    nested,
    read_cell,
)
from crucible_telemetry.export.reading import EVENTS, _csv_parser

pytestmark = pytest.mark.asyncio
DAY_US = 1_700_000_000_000_000
VALUES = {
    "whole": 2**63,
    "small": -1.5,
    "tiny": 5e-324,
    "zero": -0.0,
    "nan": math.nan,
    "inf": -math.inf,
    "yes": True,
    "no": False,
    "text": 'line\nbreak, "quoted"',
    "nul": "a\x00b",
    "cr": "a\rb",
    "unicode": "ü\u2028€",
    "spaced": " x ",
}

FLOATS = ("small", "tiny", "zero", "nan", "inf")
"""DuckDB takes a column that begins with an infinity for dates, so the first row has a number."""


def unquoted(text):
    """The cell as (text, quoted), quotes taken off as every reader does."""
    if text.startswith('"'):
        return text[1:-1].replace('""', '"'), True
    return text, False


@given(st.lists(st.text("a,\"'\n1") | st.integers() | st.lists(st.text('",'))))
async def test_a_line_comes_apart_into_the_cells_it_was_made_of(values):
    names = ["timestamp_us", *(f"metadata.k{at}" for at in range(len(values)))]
    head = ",".join(names).encode()
    line = ",".join(map(cell, [1, *values])).encode()
    read = _csv_parser(head, EVENTS)(line)
    assert read.metadata == {f"k{at}": value for at, value in enumerate(values)}


NUMBERED = st.sampled_from(
    [
        "run-1",
        "run-22",
        "run-",
        "run",
        "1",
        "run-1\nrun-2",
        "run-run-1",
        "run-\u0663",
        "",
        "nan",
        "nan1",
    ]
)


@given(
    st.lists(NUMBERED, min_size=1)
    | st.lists(st.sampled_from([0.0, -0.0, 1.5, 0, 1, True, False, None, math.nan]), min_size=1)
    | st.lists(st.text() | st.none() | st.booleans(), min_size=1)
)
async def test_a_column_has_the_cells_its_values_have(values):
    found = cells(values)
    column = [found] * len(values) if isinstance(found, str) else found
    assert column == [cell(value) for value in values]


def back(value):
    text, quoted = unquoted(cell(value))
    return read_cell(text, quoted=quoted)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", "1", "-1.5", "1e5", "true", "NaN", "inf", "'", "'=x", "=1+1", "[1]", "{}", "{", "\t", "\r\n", '"']
))  # fmt: skip
async def test_a_text_comes_back_as_that_text(text):
    assert back(text) == text
    assert type(back(text)) is str


@given(JSON.filter(lambda value: not isinstance(value, str)) | st.floats() | st.binary())
async def test_a_value_comes_back_as_what_it_was(value):
    if value == {}:
        assert back(value) == {}
    elif isinstance(value, float):
        assert repr(back(value)) == repr(value)
    else:
        assert back(value) == value
        assert type(back(value)) is type(value)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
async def test_a_column_is_the_path_it_was_made_of(path):
    assert column_path(column_name(*path)) == tuple(path)


@given(st.dictionaries(TEXT, JSON, max_size=4))
async def test_flattened_keys_do_not_collide_and_lead_back(box):
    def kept(value):  # a cell with nothing in it is not there
        if not isinstance(value, dict) or not value:
            return value
        return {key: kept(item) for key, item in value.items() if item is not None}

    flat = list(flattened("metadata", box))
    assert len({name for name, _ in flat}) == len(flat)
    rebuilt = nested(dict(flat)).get("metadata", {})

    def holds(found, wanted):
        if isinstance(wanted, dict) and wanted:
            return all(
                item is None or _empty_branch(item) or holds(found[key], item)
                for key, item in wanted.items()
            )
        return found == wanted

    assert holds(rebuilt, box)


def _empty_branch(value):
    """Nothing but None below: no cell says that it was there."""
    if isinstance(value, dict) and value:
        return all(item is None or _empty_branch(item) for item in value.values())
    return False


async def test_columns_are_the_union_over_all_events_and_nested_keys_do_not_collide(tmp_path):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a", {"x": 1}, {"a": {"b": 1}}, at_us=DAY_US)
        await ct.execute("b", {"y": 2}, {"a.b": 2, "latency_ms": "mine"}, at_us=DAY_US - 1)
        await ct.execute("a", {"x": 3}, {"a": {}, "c": None}, at_us=DAY_US + 1)
        path = await exp.export(tmp_path / "e.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
    assert [row["event_name"] for row in rows] == ["b", "a", "a"]
    assert [row["seq"] for row in rows] == ["2", "1", "3"]
    assert [row["metadata.a.b"] for row in rows] == ["", "1", ""]
    assert [row["metadata.a\\.b"] for row in rows] == ["2", "", ""]
    assert [row["metadata.a"] for row in rows] == ["", "", "{}"]
    assert [row["metadata.latency_ms"] for row in rows] == ["mine", "", ""]
    assert [row["latency_ms"] for row in rows] == ["", "", ""]
    assert "metadata.c" in rows[0]


async def test_an_empty_experiment_exports_the_header(tmp_path):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        path = await exp.export(tmp_path / "e.csv")
        chosen = await exp.export(tmp_path / "f.csv", columns=["seq", "metadata.any.where"])
    assert path.read_text().startswith("seq,event_id,timestamp_us,event_name,")
    assert path.read_text().count("\n") == 1
    assert chosen.read_text() == "seq,metadata.any.where\n"


async def test_columns_choose_and_order_and_an_unknown_one_is_named(tmp_path):
    async with ct.Lab() as lab, lab.experiment("e", privacy="full") as exp:
        await ct.execute("a.stop", {"duration": 2_000_000}, {"user": {"name": "Ada"}}, at_us=1)
        chosen = ["metadata.user.name", "latency_ms", "timestamp_us"]
        path = await exp.export(tmp_path / "e.csv", columns=chosen)
        lines = await exp.export(tmp_path / "e.jsonl", columns=chosen)
        with pytest.raises(ct.ConfigurationError, match="'latncy_ms'.*latency_ms"):
            await exp.export(tmp_path / "f.csv", columns=["latncy_ms"])
        with pytest.raises(ct.ConfigurationError, match=r"metadata\.user\.nam"):
            await exp.export(tmp_path / "f.jsonl", columns=["metadata.user.nam"])
    assert path.read_text() == "metadata.user.name,latency_ms,timestamp_us\nAda,2.0,1\n"
    assert lines.read_text() == '{"metadata.user.name":"Ada","latency_ms":2.0,"timestamp_us":1}\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.csv", "e.jsonl"]


async def test_transformers_change_values_and_rows_in_order(tmp_path):
    steps = [
        {"latency_ms": lambda ms: None if ms is None else ms / 1000},
        lambda row: {"seq": row["seq"], "latency_s": row["latency_ms"], "n": -row["seq"]},
    ]
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a.stop", {"duration": 2_000_000})
        await ct.execute("a.start")
        path = await exp.export(tmp_path / "e.csv", transformers=steps, columns=["n", "latency_s"])
        lines = await exp.export(tmp_path / "e.jsonl", transformers=steps)
    assert path.read_text() == "n,latency_s\n-1,0.002\n-2,\n"
    assert lines.read_text().splitlines()[0] == '{"seq":1,"latency_s":0.002,"n":-1}'


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
async def test_a_transformer_of_a_column_that_no_event_has_is_named(tmp_path, ending):
    mine = {"modle": str.upper}
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a", {}, {"model": "m"})
        with pytest.raises(ct.ConfigurationError, match="transformers.*'modle'.*model"):
            await exp.export(tmp_path / f"e.{ending}", transformers=mine)
        made = [lambda row: {"modle": row["model"]}, mine]
        path = await exp.export(tmp_path / f"f.{ending}", transformers=made, columns=["modle"])
    assert path.read_text() == {"csv": "modle\nM\n", "jsonl": '{"modle":"M"}\n'}[ending]
    assert list(tmp_path.iterdir()) == [path]


async def test_a_mapping_is_asked_once_for_each_event(tmp_path):
    asked = []
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a", {"x": 1})
        await exp.export(tmp_path / "e.csv", transformers={"measurements.x": asked.append})
    assert asked == [1]


async def test_a_transformer_that_raises_is_named_and_leaves_no_file(tmp_path):
    def halves(value):
        return value / 2

    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a", {"x": 1})
        await ct.execute("a", {"x": "one"})
        for name in ("e.csv", "e.jsonl"):
            told = rf"{name}.*event {exp.id}-2.*halves of 'measurements\.x' raised TypeError"
            with pytest.raises(ct.ExportError, match=told):
                await exp.export(tmp_path / name, transformers={"measurements.x": halves})
        assert (await exp.metrics()).summary.total_events == 2
    assert list(tmp_path.iterdir()) == []


async def exported(tmp_path):
    async with ct.Lab() as lab, lab.experiment("e", privacy="full") as exp:
        await ct.execute("plain", {}, {key: 0.5 if key in FLOATS else None for key in VALUES})
        await ct.execute("odd", {}, VALUES)
        return await exp.export(tmp_path / "e.csv")


async def test_pandas_reads_the_same_values(tmp_path):
    pandas = pytest.importorskip("pandas", reason="reads what was written")
    row = pandas.read_csv(await exported(tmp_path)).iloc[1]
    for key, value in VALUES.items():
        found = row[f"metadata.{key}"]
        if key == "whole":  # beyond int64 pandas keeps the digits, where another row has none
            found = int(found)
        assert found == value or (found != found and value != value), key  # noqa: PLR0124 - NaN
    assert math.copysign(1, row["metadata.zero"]) == -1


async def test_duckdb_reads_the_same_values(tmp_path):
    duckdb = pytest.importorskip("duckdb", reason="reads what was written")
    found = duckdb.sql(f"select * from read_csv('{await exported(tmp_path)}')")
    row = dict(zip(found.columns, found.fetchall()[1], strict=True))
    for key, value in VALUES.items():
        got = row[f"metadata.{key}"]
        assert got == value or (got != got and value != value), key  # noqa: PLR0124 - NaN


async def test_pythons_csv_reads_every_cell(tmp_path):
    path = await exported(tmp_path)
    row = list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))[1]
    for key in ("text", "nul", "cr", "unicode", "spaced"):
        assert row[f"metadata.{key}"] == VALUES[key]
    for key in FLOATS:
        assert repr(float(row[f"metadata.{key}"])) == repr(VALUES[key])
    assert int(row["metadata.whole"]) == 2**63


async def test_r_reads_the_same_numbers_and_texts(tmp_path):
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not installed")
    code = (
        f"d <- read.csv('{await exported(tmp_path)}', check.names=FALSE)[2,]; "
        "cat(d[['metadata.small']], d[['metadata.nan']], d[['metadata.inf']], nchar(d[['metadata.text']]))"
    )
    run = await anyio.run_process([rscript, "-e", code])
    assert run.stdout.decode() == f"-1.5 NaN -Inf {len(VALUES['text'])}"


async def test_jq_reads_every_line(tmp_path):
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("jq is not installed")
    async with ct.Lab() as lab, lab.experiment("e", privacy="full") as exp:
        await ct.execute("odd", {}, VALUES)
        await ct.execute("b.stop", {"duration": 1_500_000})
        path = await exp.export(tmp_path / "e.jsonl")
    program = "[.seq, .latency_ms, .metadata.text, .metadata.nan, .metadata.small, .metadata.yes]"
    run = await anyio.run_process([jq, "-c", program, str(path)])
    first, second = map(json.loads, run.stdout.splitlines())
    assert first == [1, None, VALUES["text"], "NaN", -1.5, True]
    assert second[:2] == [2, 1.5]
