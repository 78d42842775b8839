"""F4: a Parquet or Arrow file with a flipped bit, or a piece of it, is found out, and says which rows; never a short read."""

import random
import re

import pytest
import pytest_asyncio

import crucible_telemetry as ct

pa = pytest.importorskip("pyarrow", reason="pyarrow is optional")
pytestmark = pytest.mark.asyncio
ROWS = 200
FLIPS = 150


@pytest_asyncio.fixture(params=["parquet", "arrow"])
async def table(request, tmp_path, monkeypatch):
    """A file of five row groups, and what its events hold."""
    monkeypatch.setattr("crucible_telemetry.export.tables.GROUP_ROWS", ROWS)
    monkeypatch.setattr("crucible_telemetry.export.tables.SLICE", ROWS)
    async with ct.Lab() as lab:
        async with lab.experiment("t") as exp:
            for i in range(5 * ROWS):
                ct.execute_nowait("x.stop", {"i": i, "duration": i * 10**6}, {"model": f"m{i % 3}"})
        return await exp.export(tmp_path / f"t.{request.param}")


def inside_the_third_group(path):
    if path.suffix == ".arrow":
        return path.read_bytes().find(b"m2", path.stat().st_size // 2)
    found = pytest.importorskip("pyarrow.parquet").ParquetFile(path)
    at = found.schema_arrow.names.index("measurements.i")
    return found.metadata.row_group(2).column(at).data_page_offset + 40


def read(path):
    return [event.measurements["i"] for event in ct.read_events(path)]


async def test_f04_every_flipped_bit_is_found_and_what_it_hit_is_named(table):
    sound = table.read_bytes()
    rng, named = random.Random(4), 0
    places = [0, 4, 8, len(sound) - 1, len(sound) - 6, len(sound) - 12]
    for at in places + [rng.randrange(len(sound)) for _ in range(FLIPS)]:
        data = bytearray(sound)
        data[at] ^= 1 << rng.randrange(8)
        table.write_bytes(data)
        with pytest.raises(ct.UnreadableFile) as told:
            assert len(read(table)) == -1, f"byte {at} of {len(sound)} was not looked at"
        named += "rows " in str(told.value)
    assert named > FLIPS / 3
    table.write_bytes(sound)
    assert read(table) == list(range(5 * ROWS))


async def test_f04_the_rows_of_a_damaged_group_are_named_and_those_before_are_read(table):
    data = bytearray(table.read_bytes())
    data[inside_the_third_group(table)] ^= 1
    table.write_bytes(data)
    found = []
    with pytest.raises(ct.UnreadableFile, match=r"are not as they were") as told:
        found.extend(event.measurements["i"] for event in ct.read_events(table))
    first, last = re.search(r"rows ([0-9,]+) to ([0-9,]+)", str(told.value)).groups()
    assert int(last.replace(",", "")) - len(found) == ROWS
    assert found == list(range(int(first.replace(",", "")) - 1))
    with pytest.raises(ct.UnreadableFile, match=r"SHA-256 differs"):
        await ct.load(table)


async def test_f04_a_file_that_was_cut_or_lengthened_is_not_read_short(table):
    sound = table.read_bytes()
    rng = random.Random(7)
    for at in [1, 5, 9, 12, len(sound) - 1, *(rng.randrange(len(sound)) for _ in range(40))]:
        table.write_bytes(sound[:at])
        with pytest.raises(ct.UnreadableFile):
            read(table)
        table.write_bytes(sound[:at] + sound[at + 1 :])
        with pytest.raises(ct.UnreadableFile):
            read(table)
    table.write_bytes(sound + b"x")
    with pytest.raises(ct.UnreadableFile):
        read(table)


async def test_f04_a_flipped_bit_in_a_file_without_a_seal_is_found_by_its_checksums(
    tmp_path, table
):
    pq = pytest.importorskip("pyarrow.parquet")
    foreign = tmp_path / "foreign.parquet"
    if table.suffix == ".arrow":
        pytest.skip("Arrow files of other programs have no checksums")
    columns = pq.read_table(table).replace_schema_metadata(None)
    pq.write_table(columns, foreign, write_page_checksum=True)
    assert read(foreign) == list(range(5 * ROWS))
    data = bytearray(foreign.read_bytes())
    chunk = pq.ParquetFile(foreign).metadata.row_group(0).column(columns.column_names.index("seq"))
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    foreign.write_bytes(data)
    with pytest.raises(ct.UnreadableFile, match=r"CRC|checksum"):
        read(foreign)


async def test_f04_other_programs_read_a_sealed_file(table):
    pq = pytest.importorskip("pyarrow.parquet")
    plain = (
        pq.read_table(table) if table.suffix == ".parquet" else pa.ipc.open_file(table).read_all()
    )
    assert plain.column("measurements.i").to_pylist() == list(range(5 * ROWS))
    duckdb = pytest.importorskip("duckdb", reason="duckdb is optional")
    if table.suffix == ".parquet":
        (found,) = duckdb.sql(f"select count(*), sum(latency_ms) from '{table}'").fetchall()
        assert found == (5 * ROWS, sum(range(5 * ROWS)))
