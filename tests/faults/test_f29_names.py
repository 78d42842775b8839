"""F29: names chosen by somebody else lead nowhere but into the folder meant for them."""

import pathlib

import pytest
from hypothesis import example, given, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.export.names import MAX_BYTES, safe_file_name

HOSTILE = [
    "../x", "..", ".", "", " ", "../../etc/passwd", "/etc/passwd", "a/../../b", "a/b", "..\\x",
    "C:\\x", "c:x", "\\\\server\\share", "nul\0x", "\0", "CON", "con", "CON.txt", "nul.jsonl", "COM1",
    "LPT9.log", "AUX ", "x" * 300, "é" * 300, "．．／x", "∕etc", "\u202egnp.exe", "a\u200b", "a\nb", "\ud800",
    "~root", "-rf", ".hidden", "trailing.", "trailing ", "a:stream", "a*?", "$(id)", "%2e%2e%2f", "conin$", "~",
    "\u2028", "..\u0000/x", "ﬁle", "ＣＯＮ", "👩\u200d🔬",
]  # fmt: skip
NAMES = st.sampled_from(HOSTILE) | st.text(max_size=300)


def taken_apart(name):
    """The name as Posix and as Windows read it: one part, not absolute, on no drive."""
    windows = pathlib.PureWindowsPath(name)
    return [pathlib.PurePosixPath(name).parts, windows.parts, (windows.name,)]


@given(NAMES)
@example("a" * 119 + "é")
def test_f29_a_safe_name_is_one_plain_part_of_a_path_everywhere(name):
    safe = safe_file_name(name)
    assert all(parts == (safe,) for parts in taken_apart(safe))
    assert 0 < len(safe.encode()) <= MAX_BYTES
    assert safe.isprintable()
    assert not safe.startswith((".", "-", "~", " "))
    assert not safe.endswith((".", " "))
    assert not pathlib.PureWindowsPath(safe).is_reserved()
    assert safe_file_name(safe) == safe


@given(st.lists(NAMES, unique=True, max_size=8))
def test_f29_two_names_never_become_one(names):
    assert len({safe_file_name(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name", ["gpt4_baseline", "prompt-a v2", "Überlauf 3.1", "実験", "a.b", "x" * 120]
)
def test_f29_a_harmless_name_stays_as_it_is(name):
    assert safe_file_name(name) == name


def everything(root):
    return {str(path) for path in root.rglob("*")}


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.strip()])
@pytest.mark.asyncio
async def test_f29_names_ids_tags_and_items_write_nothing_outside_the_folder(name, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    async with ct.Lab() as lab:
        exp = await lab.start_experiment(name, condition=name, tags=[name], metadata={name: 1})
        async with exp.trial(item=name, session=name, user=name):
            await ct.execute(name, {"n": 1}, {name: name})
        path = await exp.export(root / f"{safe_file_name(name)}.jsonl")
        assert "/" not in exp.id
        assert exp.counts.stored == 1
    trials = path.with_name(f"{path.stem}.trials.jsonl")
    assert everything(tmp_path) == {str(root), str(path), str(trials)}


@pytest.mark.parametrize("name", [name for name in HOSTILE if name and len(name) <= 256])
@pytest.mark.asyncio
async def test_f29_run_ids_of_metrics_write_nothing_outside_the_folder(name, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    before = everything(tmp_path)
    store = ct.JsonlMetricsStore(root)
    try:
        store.record(name, "m", 1)
    except ct.ConfigurationError:
        assert name == "\ud800"
        return
    await store.flush()
    made = everything(tmp_path) - before
    assert [pathlib.Path(path).parent for path in made] == [root]
    assert [point.run_id for point in await store.read(name)] == [name]


@pytest.mark.asyncio
async def test_f29_a_link_in_the_folder_of_metrics_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "r.jsonl").symlink_to(outside)
    store = ct.JsonlMetricsStore(tmp_path / "root")
    store.record("r", "m", 1)
    with pytest.raises(OSError, match="r.jsonl"):
        await store.flush()
    assert outside.read_text() == "mine"
