"""Events as tables with types: Parquet and Arrow files, and data frames of other libraries."""

import math

import pytest

import crucible_telemetry as ct

pa = pytest.importorskip("pyarrow", reason="pyarrow is optional")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional")

pytestmark = pytest.mark.asyncio


def read(path):
    """A Parquet file as a table, its checksums verified."""
    return pq.read_table(path, page_checksum_verification=True)


def column(table, name):
    return table.column(name).to_pylist()


async def filled(lab):
    """An experiment whose events have different keys, and kinds of values that do not agree."""
    async with lab.experiment("tables", tags=["x", "y"]) as exp:
        ct.execute_nowait(
            "llm.request.stop",
            {"duration": 1500, "mix": 1, "wide": 2**63},
            {"model": "m", "list": [1, "a"]},
        )
        ct.execute_nowait(
            "training.step",
            {"loss": 0.5, "mix": "t"},
            {"step": 3, "b": b"\x00\xff", "n": {"a.b": 1}},
        )
        ct.execute_nowait(
            "training.step", {"loss": math.nan, "mix": None}, {"step": 4, "s": "\ud800"}
        )
        async with exp.trial(item="q1"):
            ct.execute_nowait("plain")
    return exp


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
async def test_a_table_has_the_union_of_all_columns_each_with_one_kind(tmp_path, kind):
    async with ct.Lab() as lab:
        exp = await filled(lab)
        path = await exp.export(tmp_path / f"t.{kind}")
        table = read(path) if kind == "parquet" else pa.ipc.open_file(path).read_all()
        events = await exp.events()
    assert column(table, "seq") == [1, 2, 3, 4]
    assert column(table, "event_id") == [event.event_id for event in events]
    assert column(table, "tags") == [["x", "y"]] * 4
    assert column(table, "latency_ms") == [0.0015, None, None, None]
    assert column(table, "sample_id") == [None, None, None, "q1"]
    assert column(table, "ends") == [True, None, None, None]
    assert column(table, "step") == column(table, "metadata.step") == [None, 3, 4, None]
    assert column(table, "loss")[1] == 0.5
    assert math.isnan(column(table, "loss")[2])
    assert column(table, "measurements.mix") == ["1", '"t"', None, None]
    assert column(table, "measurements.wide") == [2**63, None, None, None]
    assert column(table, "metadata.list") == ['[1,"a"]', None, None, None]
    assert column(table, "metadata.b") == [None, b"\x00\xff", None, None]
    assert column(table, r"metadata.n.a\.b") == [None, 1, None, None]
    assert column(table, "metadata.s") == [None, None, "\\ud800", None]
    kinds = {f.name: f.metadata[b"crucible.kind"].decode() for f in table.schema}
    assert kinds["measurements.mix"] == kinds["metadata.list"] == "json"
    assert table.schema.field("measurements.wide").type == pa.uint64()


async def test_an_experiment_without_events_is_a_table_without_rows(tmp_path):
    async with ct.Lab() as lab:
        async with lab.experiment("empty") as exp:
            pass
        table = read(await exp.export(tmp_path / "e.parquet"))
    assert table.num_rows == 0
    assert {"seq", "latency_ms", "tags"} <= set(table.column_names)


async def test_columns_and_transformers_make_the_table_that_was_asked_for(tmp_path):
    async with ct.Lab() as lab:
        exp = await filled(lab)
        await exp.export(tmp_path / "c.parquet", columns=["step", "seq"])
        await exp.export(
            tmp_path / "t.parquet",
            columns=["event_name", "twice"],
            transformers=[{"event_name": len}, lambda row: row | {"twice": row["seq"] * 2.5}],
        )
    chosen, made = read(tmp_path / "c.parquet"), read(tmp_path / "t.parquet")
    assert chosen.to_pydict() == {"step": [None, 3, 4, None], "seq": [1, 2, 3, 4]}
    assert made.to_pydict() == {"event_name": [16, 13, 13, 5], "twice": [2.5, 5.0, 7.5, 10.0]}


async def test_row_groups_are_bounded_and_rows_come_in_order_of_time(tmp_path, monkeypatch):
    monkeypatch.setattr("crucible_telemetry.export.tables.GROUP_ROWS", 5_000)
    async with ct.Lab() as lab:
        async with lab.experiment("many") as exp:
            for i in range(20_000):
                name = ("a", "b.stop", "c")[i % 3]
                at_us = 1_700_000_000_000_000 + (i * 7919) % 20_000
                ct.execute_nowait(name, {"i": i, name: float(i)}, {"at_us": at_us})
                if i % 4096 == 0:
                    await exp.flush()
        path = await exp.export(tmp_path / "m.parquet")
        events = await exp.events()
    table = read(path)
    assert pq.ParquetFile(path).num_row_groups > 2
    assert column(table, "seq") == [event.seq for event in events]
    assert column(table, "measurements.i") == [event.measurements["i"] for event in events]
    assert column(table, "measurements.c") == [event.measurements.get("c") for event in events]


async def test_a_flipped_byte_in_a_page_is_found_when_checksums_are_verified(tmp_path):
    async with ct.Lab() as lab:
        async with lab.experiment("flip") as exp:
            for i in range(2000):
                ct.execute_nowait("x", {"v": i * 0.1})
        path = await exp.export(tmp_path / "f.parquet")
    data = bytearray(path.read_bytes())
    found = pq.ParquetFile(path)
    at = found.schema_arrow.names.index("measurements.v")
    chunk = found.metadata.row_group(0).column(at)
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC|checksum"):
        read(path)


async def test_frames_of_other_libraries_hold_the_same_rows():
    pd = pytest.importorskip("pandas", reason="pandas is optional")
    async with ct.Lab() as lab:
        exp = await filled(lab)
        table = await exp.to_arrow()
        frame = await exp.to_pandas(where=ct.Where(event="training.step"))
        handed = pa.table(exp)
    assert handed.schema.equals(table.schema)
    assert column(handed, "event_name") == column(table, "event_name")
    assert frame["step"].tolist() == [3, 4]
    assert frame["step"].dtype == pd.Int64Dtype()
    assert frame["repeat"].isna().all()


async def test_polars_takes_an_experiment():
    pl = pytest.importorskip("polars", reason="polars is optional")
    async with ct.Lab() as lab:
        exp = await filled(lab)
        frame = await exp.to_polars()
    assert isinstance(frame, pl.DataFrame)
    assert frame["seq"].to_list() == [1, 2, 3, 4]


async def test_what_is_on_a_disk_is_waited_for_and_the_error_says_how(tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab:
        exp = await filled(lab)
        async with lab.experiment("other"):
            pass
    async with ct.Lab(tmp_path / "runs.db") as lab:
        found = lab.get_experiment(exp.id)
        with pytest.raises(ct.ConfigurationError, match="await exp.to_arrow"):
            pa.table(found)
        assert (await found.to_arrow()).num_rows == 4


async def test_a_compressed_table_is_refused_for_it_compresses_itself(tmp_path):
    async with ct.Lab() as lab:
        exp = await filled(lab)
        with pytest.raises(ct.ConfigurationError, match="needs none around it"):
            await exp.export(tmp_path / "t.parquet.gz")
    assert list(tmp_path.iterdir()) == []


async def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("crucible_telemetry.collect.formats.find_spec", lambda _name: None)
    async with ct.Lab() as lab:
        exp = await filled(lab)
        with pytest.raises(ct.ConfigurationError, match=r"crucible-telemetry\[parquet\]"):
            await exp.export(tmp_path / "t.parquet")
        with pytest.raises(ct.ConfigurationError, match=r"crucible-telemetry\[parquet\]"):
            await lab.start_experiment("b", export_on_exit=tmp_path / "x.parquet")


async def test_trials_leave_as_a_table_beside_that_of_the_events(tmp_path):
    async with ct.Lab() as lab:
        async with lab.experiment("t", tags=["a"]) as exp:
            for item in range(3):
                async with exp.trial(item=item) as trial:
                    trial.score(bleu=item / 2, label="x" if item else 1)
        await exp.export(tmp_path / "t.parquet")
    trials = read(tmp_path / "t.trials.parquet")
    assert column(trials, "item") == ["0", "1", "2"]
    assert column(trials, "score.bleu") == [0.0, 0.5, 1.0]
    assert column(trials, "score.label") == ["1", '"x"', '"x"']
    assert column(trials, "tags") == [["a"]] * 3
    assert column(trials, "outcome") == ["ok"] * 3


async def test_an_experiment_that_ends_leaves_its_table(tmp_path):
    async with ct.Lab() as lab, lab.experiment("exit", export_on_exit=tmp_path / "x.parquet"):
        ct.execute_nowait("x", {"v": 1})
    assert column(read(tmp_path / "x.parquet"), "measurements.v") == [1]
