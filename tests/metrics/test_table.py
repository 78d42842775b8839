"""A summary as text: what it shows, what it leaves out, and that nothing in a name breaks it."""

import pytest
from hypothesis import given, strategies as st
from make import PlainReader, columns

import crucible_telemetry as ct
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.figures import Events, Summary, Timing
from crucible_telemetry.metrics.rest import at_rest
from crucible_telemetry.metrics.summary import live
from crucible_telemetry.metrics.table import number, percent

READER = PlainReader()
MS = 10**6


def test_an_empty_summary_is_two_lines():
    said = str(live(Board.empty(), READER, Timing()))
    assert said == "0 events; all operations\nlive, up to event 0; quantiles within 1.083 %"


def test_the_columns_of_numbers_are_aligned_and_outcomes_stand_below():
    part = columns(
        3,
        outcome=[Outcome.OK, Outcome.OK, Outcome.ERROR],
        latency_ns=[10 * MS, 30 * MS, 7 * MS],
        cost_pico=[10**9, 10**10, 10**11],
        model=[1, 2, 1],
        total=10,
        error=[0, 0, 3],
    )
    lines = str(at_rest([part], READER, Timing())).split("\n")
    table = lines[1:4]
    assert len({len(line) for line in table}) == 1
    assert table[1].split()[:4] == ["latency", "ms", "2", "20"]
    assert table[2].split()[:3] == ["error", "1", "7"]
    assert any(line.split() == ["errors", "Error3", "1"] for line in lines)
    assert any(line.split()[:3] == ["by", "model", "model-1"] for line in lines)
    assert not any(line.startswith(("live", "ttft", "custom")) for line in lines)


def test_figures_by_event_have_a_line_each():
    part = columns(2, shape=[4, 7], latency_ns=[MS, 2 * MS])
    said = str(at_rest([part], READER, Timing(), by_event=True))
    assert "  event.4 " in said
    assert "  event.7 " in said


@given(st.dictionaries(st.text(max_size=30), st.integers(0, 5), min_size=1, max_size=30))
def test_a_name_breaks_no_line(counts):
    summary = live(Board.empty(), READER, Timing())
    fields = {name: getattr(summary, name) for name in Summary.__struct_fields__}
    said = str(Summary(**{**fields, "events": Events(counts=counts)}))
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert said.count("\n") == 1 + min(len(counts), 12) + (len(counts) > 12)


@given(st.floats() | st.integers(-(2**70), 2**70) | st.none())
def test_a_number_fits_its_column(value):
    assert 0 < len(number(value)) <= 11


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0, "0"), (1234567, "1,234,567"), (0.5, "0.5"), (12345.6, "12,346"),
     (1e-9, "1e-09"), (True, "True"), ("a", "a")],
)  # fmt: skip
def test_numbers_are_short(value, said):
    assert number(value) == said


def test_shares_keep_the_digits_that_matter():
    assert (percent(0.9999), percent(1.0), percent(None)) == ("99.99 %", "100 %", "-")


@pytest.mark.asyncio
async def test_a_notebook_shows_the_same_text_with_markup_escaped(exp):
    await ct.execute("<b>.stop", {"duration_ms": 3})
    summary = exp.live()
    html = summary._repr_html_()
    assert "&lt;b&gt;.stop" in html
    assert "<b>" not in html
    assert "sample" not in html


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1.0, "100 %"), (0.999987, "99.9987 %"), (0.9999999, "99.99999 %"), (0.5, "50 %")],
)
def test_a_rate_below_one_is_never_shown_as_100_percent(rate, text):
    assert percent(rate) == text


def test_a_custom_result_of_any_kind_is_one_short_line():
    custom = {"grid": [list(range(9))] * 9, "lines": "a\nb", "none": None}
    lines = str(live(Board.empty(), READER, Timing(), custom=custom)).split("\n")
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80
    assert any(line.split() == ["none", "-"] for line in lines)
