"""F32: Parquet and Arrow files that ask for more than any file of events: refused, within 100 MB of memory."""

import pytest
from faults.resident import PRESENT, forget_peak, peak_bytes

import crucible_telemetry as ct

pa = pytest.importorskip("pyarrow", reason="pyarrow is optional")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional")
MIB = 2**20


def events(rows, **columns):
    base = {
        "timestamp_us": pa.repeat(pa.scalar(1, pa.int64()), rows),
        "event_name": pa.repeat("a", rows),
    }
    return pa.table(base | columns)


def refused(path, match=None):
    """What reading a file raises, and that it took no more than 100 MB."""
    if PRESENT:
        forget_peak()
        before = peak_bytes()
    with pytest.raises(ct.UnreadableFile, match=match) as told:
        for _ in ct.read_events(path):
            pass
    if PRESENT:
        assert peak_bytes() - before < 100 * MIB
    return told.value


def test_f32_billions_of_rows_in_a_small_file_are_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    table = events(2**14, **{"metadata.x": pa.nulls(2**14, pa.string())})
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        many = pa.concat_tables([table] * 1024)
        for _ in range(4):
            writer.write_table(many, row_group_size=len(many))
    assert pq.read_metadata(path).num_rows == 2**26
    assert path.stat().st_size < MIB
    refused(path, "1,000 times its size")


@pytest.mark.parametrize("dictionary", [True, False])
def test_f32_a_page_that_unpacks_to_hundreds_of_megabytes_is_refused(tmp_path, dictionary):
    path = tmp_path / "page.parquet"
    huge = pa.array(["x" * (8 * MIB) + str(i) for i in range(24)])
    pq.write_table(
        events(24, **{"metadata.x": huge}), path, compression="zstd", use_dictionary=dictionary,
        dictionary_pagesize_limit=2**30, data_page_size=2**30, write_statistics=False,
    )  # fmt: skip
    assert path.stat().st_size < MIB
    del huge
    refused(path, "unpack to more than")


def test_f32_a_huge_value_that_comes_again_in_every_row_is_refused(tmp_path):
    path = tmp_path / "again.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2**14, pa.int32()), ["x" * (8 * MIB)])
    pq.write_table(
        events(2**14, **{"metadata.x": column}), path, compression="zstd", store_schema=False
    )
    refused(path, "1,000 times its size")


def test_f32_lists_without_end_in_one_row_are_refused(tmp_path):
    path = tmp_path / "lists.parquet"
    size = 2**23
    values = pa.nulls(size, pa.string())
    tags = pa.ListArray.from_arrays(pa.array([0, size], pa.int32()), values)
    pq.write_table(events(1, tags=tags), path, compression="zstd")
    assert path.stat().st_size < MIB
    refused(path, "lists without end")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"a": 1}]),
        pa.array([[[1]]]),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    ],
)
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_f32_nested_columns_are_refused(tmp_path, column, ending):
    path, table = tmp_path / f"n.{ending}", events(1, **{"metadata.x": column})
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    refused(path, "no column of events does")


def test_f32_a_footer_of_many_columns_and_groups_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("crucible_telemetry.export.tablereading.MOST_ELEMENTS", 10_000)
    path = tmp_path / "wide.parquet"
    wide = events(1, **{f"metadata.{i}": pa.array([1]) for i in range(100)})
    with pq.ParquetWriter(path, wide.schema, write_statistics=False, store_schema=False) as writer:
        for _ in range(105):
            writer.write_table(wide)
    refused(path, "more columns and row groups")


def test_f32_a_compressed_arrow_batch_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "c.arrow"
    table = events(24, **{"metadata.x": pa.array(["x" * (8 * MIB)] * 24)})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, table.schema, options=options) as writer:
        writer.write_table(table)
    assert path.stat().st_size < MIB
    del table
    refused(path, "compressed")


def test_f32_an_arrow_file_of_nothing_but_nulls_is_refused(tmp_path):
    path = tmp_path / "n.arrow"
    with pa.ipc.new_file(path, pa.schema({"timestamp_us": pa.null()})) as writer:
        writer.write_batch(pa.record_batch([pa.nulls(2**31 - 1)], ["timestamp_us"]))
    refused(path, "1,000 times its size")


def test_f32_offsets_that_lead_out_of_an_arrow_batch_are_refused(tmp_path):
    path = tmp_path / "o.arrow"
    with pa.ipc.new_file(
        path, pa.schema({"timestamp_us": pa.int64(), "event_name": pa.string()})
    ) as writer:
        writer.write_batch(
            pa.record_batch(
                [pa.array([1, 2]), pa.array(["ab", "cd"])], ["timestamp_us", "event_name"]
            )
        )
    data = path.read_bytes()
    offsets = b"\x00\x00\x00\x00\x02\x00\x00\x00\x04\x00\x00\x00"
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, b"\x00\x00\x00\x00\xff\xff\xff\x7f\xff\xff\xff\x7f"))
    refused(path, "offset|bounds|buffer")


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"event_name": ["a"]}, "timestamp_us"),
        ({"timestamp_us": ["1"]}, "timestamp_us"),
        ({"timestamp_us": [1], "measurements": [5]}, "measurements"),
        ({"timestamp_us": [1], "latency_ms": ["x"]}, "latency_ms"),
        ({"timestamp_us": [1], "encoded": ["x"]}, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_f32_a_row_that_is_no_event_is_named(tmp_path, columns, match, ending):
    path, table = tmp_path / f"r.{ending}", pa.table(columns)
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    assert refused(path, match).line == 1


@pytest.mark.parametrize("head", [b"PAR1", b"ARROW1\0\0"])
@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"PAR1",
        b"\xff\xff\xff\x7fPAR1",
        b"\x08\0\0\0PAR1",
        b"\x08\0\0\0ARROW1",
        b"\0" * 64 + b"ARROW1",
    ],
)
def test_f32_what_only_begins_or_ends_like_a_table_is_refused(tmp_path, head, tail):
    path = tmp_path / "x.parquet"
    path.write_bytes(head + b"\xff" * 32 + tail)
    refused(path)
