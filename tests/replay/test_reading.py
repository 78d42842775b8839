"""Files → rows."""

import gzip
import json
import tracemalloc

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.errors import UnreadableFile
from crucible_telemetry.replay import reading
from crucible_telemetry.replay.reading import Trace


def rows(path, content=None):
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(Trace(path).rows())


def values(found):
    return [row.values for row in found]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_in_its_usual_forms(tmp_path, delimiter):
    text = f'\ufeffa{delimiter}b\n1{delimiter}"x\n\ny"\n\n2{delimiter}z\r\n'
    found = rows(tmp_path / "t.csv", text)
    assert values(found) == [{"a": "1", "b": "x\n\ny"}, {"a": "2", "b": "z"}]
    assert [row.number for row in found] == [4, 6]


def test_a_csv_row_of_another_length_is_named_and_the_rest_is_read(tmp_path):
    found = rows(tmp_path / "t.csv", "a,b\n1\n1,2\n1,2,3\n")
    assert [row.number for row in found if row.values is None] == [2, 4]
    assert "has 1 cells where the header has 2" in found[0].problem
    assert values(found)[1] == {"a": "1", "b": "2"}


def test_a_csv_cell_beyond_the_limit_costs_its_row_only(tmp_path):
    found = rows(tmp_path / "t.csv", f"a\n1\n{'x' * 200_000}\n2\n")
    assert [row.values and row.values["a"] for row in found] == ["1", None, "2"]
    assert "limit" in found[1].problem


def test_json_lines_with_objects_inside_and_a_torn_end(tmp_path):
    found = rows(
        tmp_path / "t.jsonl", '{"a": {"b": 1, "c": {}}, "d": [1]}\n\n7\n{"a": NaN}\n{"a": '
    )
    assert found[0].values == {"a.b": 1, "a.c": {}, "d": [1]}
    assert (found[1].number, found[1].problem) == (3, "is no object but int")
    assert found[2].values["a"] != found[2].values["a"]
    assert found[3].values is None
    assert found[3].number == 5


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1}, {"a": 2}]', '{"meta": 1, "rows": [{"a": 1}, {"a": 2}]}', '{"a": 1}\n{"a": 2}\n'],
)
def test_json_is_an_array_an_object_that_holds_one_or_lines(tmp_path, text):
    assert values(rows(tmp_path / "t.json", text)) == [{"a": 1}, {"a": 2}]


def test_packed_files_are_read_as_what_they_hold(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))
    assert values(rows(tmp_path / "t.csv.gz")) == [{"a": "1"}, {"a": "2"}]
    zstandard = pytest.importorskip("zstandard")
    frames = zstandard.compress(b"a\n1\n") + zstandard.compress(b"2\n")
    (tmp_path / "t.csv.zst").write_bytes(frames)
    assert values(rows(tmp_path / "t.csv.zst")) == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("t.csv", b"", "is empty"),
        ("t.xlsx", b"PK", "by its name it is no trace"),
        ("t.csv", "a,b\n".encode("utf-16"), "UTF-16"),
        ("t.csv", b"a,a\n1,2\n", "names the column 'a' twice"),
        ("t.csv", b"x" * 200_000, "no header: field larger"),
        ("t.json", b"[1", "no JSON"),
        ("t.json", b"17", "want an array"),
        ("t.json", b'{"a": [{}], "b": [{}]}', "has several: a, b"),
        ("t.json", b'{"a": 1}', "has none"),
        ("t.json", b"[" * 100_000, "no JSON"),
        ("t.csv.gz", gzip.compress(b"a\n" + b"1\n" * 1000)[:-9], "ended before the end"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, match):
    with pytest.raises(UnreadableFile, match=match) as raised:
        rows(tmp_path / name, content)
    assert name in str(raised.value)


@pytest.mark.parametrize("name", ["missing.csv", "folder.csv"])
def test_what_is_no_file_says_so(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UnreadableFile, match="No such file|directory"):
        rows(tmp_path / name)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 1000)
    with pytest.raises(UnreadableFile, match="line 2: it is longer"):
        rows(tmp_path / "t.jsonl", b"{}\n" + b"x" * 5000)
    monkeypatch.setattr(reading, "MAX_JSON_BYTES", 1000)
    with pytest.raises(UnreadableFile, match="JSON Lines"):
        rows(tmp_path / "t.json", b"[" + b" " * 5000 + b"]")


def test_memory_does_not_grow_with_a_stream(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(f"{json.dumps({'latency_ms': 12, 'model': 'm' * 200})}\n" * 40_000)
    tracemalloc.start()
    try:
        trace = Trace(path)
        assert sum(row.values is not None for row in trace.rows()) == 40_000
        assert trace.share == 1
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "stem"), [("a.b.csv.gz", "a.b"), ("x.json", "x"), ("T.JSONL.ZST", "T")]
)
def test_the_name_of_a_trace_is_that_of_its_file(tmp_path, name, stem):
    assert Trace(tmp_path / name).name == stem


hostile = st.one_of(
    st.binary(max_size=200),
    st.text(alphabet='{}[]",:;\t\r\n\0aé1', max_size=60).map(lambda text: text.encode()),
)


@given(hostile, st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".csv.gz", ".jsonl.zst"]))
def test_whatever_bytes_a_file_holds_they_are_rows_or_an_error_in_words(
    tmp_path_factory, content, suffix
):
    path = tmp_path_factory.mktemp("any") / f"t{suffix}"
    try:
        for row in rows(path, content):
            assert (row.values is None) == bool(row.problem)
    except UnreadableFile as error:
        assert str(path) in str(error)  # noqa: PT017 - either way is fine
