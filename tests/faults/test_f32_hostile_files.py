"""F32: files that are no exports, or worse, are refused within limits; memory stays flat."""

import gzip
import subprocess
import sys

import pytest

import crucible_telemetry as ct
from crucible_telemetry.export import opening

LINE = b'{"timestamp_us":1,"event_name":"a","measurements":{},"metadata":{}}\n'
HEAD = b"timestamp_us,event_name,latency_ms\n"


def refused(path, match, **limits):
    with pytest.raises(ct.UnreadableFile, match=match) as told:
        list(ct.read_events(path, **limits))
    return told.value


@pytest.mark.parametrize(
    ("name", "content", "line", "match"),
    [
        ("a.jsonl", LINE + b"no json\n", 2, "malformed"),
        ("a.jsonl", LINE + b"[1]\n", 2, "object"),
        ("a.jsonl", LINE + b'{"event_name":"a"}\n', 2, "timestamp_us"),
        ("a.jsonl", b'{"timestamp_us":"1"}\n', 1, "int"),
        ("a.jsonl", b'{"timestamp_us":1,"metadata":[]}\n', 1, "metadata"),
        ("a.jsonl", b'{"timestamp_us":1,"encoded":{"/metadata/x":"float"},"event_id":"e"}\n', 1, "metadata"),
        ("a.jsonl", LINE[:-2] + b',"encoded":{"/metadata":"pickle"}}\n', 1, "unknown encoding"),
        ("a.jsonl", b"\xff\xfe" + LINE, 1, ""),
        ("a.jsonl", b"[" * 100_000 + b"\n", 1, ""),
        ("a.jsonl", b'{"timestamp_us":1,"metadata":{"a":' + b"[" * 100_000 + b"\n", 1, "deep|recurs"),
        ("a.csv", b"a,b\n1,2\n", 1, "no timestamp_us"),
        ("a.csv", b"timestamp_us,timestamp_us\n", 1, "twice"),
        ("a.csv", HEAD + b"1,a\n", 2, "2 cells, and 3 columns"),
        ("a.csv", HEAD + b'1,"a"b,2\n', 2, "quote out of place"),
        ("a.csv", HEAD + b'1,"a,2\n', 2, "quote|cells"),
        ("a.csv", HEAD + b"one,a,2\n", 2, "int"),
        ("a.csv", HEAD + b'1,a,"[1"\n', 2, "JSON"),
        ("a.csv", HEAD + b"1,\xff,2\n", 2, "utf-8"),
    ],
)  # fmt: skip
def test_f32_the_line_that_is_no_event_is_named(tmp_path, name, content, line, match):
    path = tmp_path / name
    path.write_bytes(content)
    error = refused(path, rf"(?s)a\.\w+', line {line}: .*({match})")
    assert error.line == line


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (gzip.compress(LINE * 1000)[:-20], "end-of-stream"),
        (b"\x1f\x8b" + b"x" * 100, "gzip|compression"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 100, "zstd|decompress"),
    ],
)
def test_f32_a_broken_archive_is_no_file_of_events(tmp_path, content, match):
    if content.startswith(b"\x28"):
        pytest.importorskip("zstandard", reason="reads .zst")
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(content)
    refused(path, match)


def test_f32_a_line_beyond_the_limit_is_refused_before_it_is_read(tmp_path):
    for name, content in (("a.jsonl", b"x" * 5000), ("a.csv", HEAD + b'1,"' + b"x\n" * 5000)):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "a line of more than 1,000 bytes", max_line_bytes=1000)


def test_f32_a_file_that_is_not_there_or_a_folder_says_so(tmp_path):
    refused(tmp_path / "none.jsonl", "No such file")
    refused(tmp_path, "directory")


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_f32_a_bomb_of_empty_lines_is_refused_by_its_ratio(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(opening, "FREE_BYTES", 2**18)
    monkeypatch.setattr(opening, "MAX_RATIO", 200)
    zeros = b"\n" * (8 * 2**20)
    path = tmp_path / f"a.jsonl.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(zeros))
    else:
        zstandard = pytest.importorskip("zstandard", reason="reads .zst")
        path.write_bytes(zstandard.ZstdCompressor().compress(zeros))
    refused(path, "200 times its size")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latency_ms", "-1.0"), ("latency_ms", "1e300"), ("prompt_tokens", "2147483648"),
        ("prompt_tokens", "-1"), ("timestamp_us", str(2**63)), ("outcome", '"great"'),
        ("span_id", '"xyz"'), ("span_id", '"-1"'), ("seq", "-1"),
    ],
)  # fmt: skip
async def test_f32_a_figure_that_no_experiment_has_is_refused(tmp_path, field, value):
    line = LINE.decode()[:-2] + f',"{field}":{value}}}\n'
    (tmp_path / "a.jsonl").write_text(LINE.decode() * 1500 + line + LINE.decode())
    with pytest.raises(ct.UnreadableFile, match=rf"line 1,501: .*({field}|literal)"):
        await ct.load(tmp_path / "a.jsonl")


PROGRAM = """
import sys, crucible_telemetry as ct
from pathlib import Path
from crucible_telemetry.export.reading import read_lines

def peak_kib():  # not ru_maxrss, which begins at the parent's
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak_kib()
try:
    list(ct.read_events(sys.argv[1]))
except ct.UnreadableFile as error:
    print(error.line)
print(peak_kib() - before)
"""


def test_f32_a_line_of_a_gigabyte_takes_less_than_100_mb(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.truncate(2**30)  # zeros that take no room on the disk
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    line, grown_kb = run.stdout.split()
    assert line == "1"
    assert int(grown_kb) < 100 * 1024
