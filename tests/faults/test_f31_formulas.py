"""F31: a cell that a spreadsheet would run is text; numbers stay numbers; all of it leads back."""

import csv
import io

import pytest
from hypothesis import given, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.export.cells import cell, read_cell

FORMULAS = [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://x","y")', " =1", '"=1', "'=1", "＝1", "＋1", "－1", "＠x", "\u200b=1",
    "\ufeff=1", ";=1", ",=1", "-1.5", "+49 30 1", "-",
]  # fmt: skip
RUN = tuple("=+-@\t\r\n＝＋－＠")


@pytest.mark.parametrize("text", FORMULAS)
def test_f31_a_formula_is_written_so_that_no_cell_begins_with_it(text):
    (found,) = next(csv.reader(io.StringIO(cell(text), newline="")))
    assert not found.lstrip(' "\u200b\ufeff').startswith(RUN)
    assert read_cell(found, quoted=True) == text


@given(st.text(st.sampled_from("=+-@\t\r\n '\"＝\u200b1aA,;"), max_size=6))
def test_f31_no_text_at_all_begins_a_formula(text):
    rows = list(csv.reader(io.StringIO(cell(text) + ",end\n", newline="")))
    assert len(rows) == 1
    found, end = rows[0]
    assert end == "end"
    assert not found.lstrip(' "\u200b\ufeff').startswith(RUN)


@pytest.mark.parametrize("number", [-1.5, -1, -0.0, float("-inf"), -1e-300])
def test_f31_numbers_are_untouched(number):
    assert float(cell(number)) == number


@pytest.mark.asyncio
async def test_f31_keys_names_tags_and_items_are_cells_too(tmp_path):
    bad = "=cmd()"
    async with (
        ct.Lab() as lab,
        lab.experiment(bad, condition=bad, tags=[bad], privacy="full") as exp,
    ):
        async with exp.trial(item=bad, cohort=bad, session=bad):
            await ct.execute(bad, {bad: 1}, {bad: {bad: bad}, "model": bad, "list": [bad]})
        path = await exp.export(tmp_path / "e.csv")
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
    cells = [one for row in rows for one in row]
    assert sum(bad in one for one in cells) >= 9
    assert [one for one in cells if one.startswith(RUN)] == []
