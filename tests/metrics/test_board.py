"""The board: the laws of merging, what is counted where, and that it stays bounded."""

import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from make import PlainReader, columns

from crucible_telemetry.events.columns import (
    ENDS,
    FIXED,
    LLM,
    MISSING,
    NANO,
    NO_TOKENS,
    TOKENS,
    WRAPS,
    Columns,
    Payload,
)
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.metrics import board as board_module
from crucible_telemetry.metrics.accumulators import Moments
from crucible_telemetry.metrics.board import OTHER, Board
from crucible_telemetry.metrics.cells import Key
from crucible_telemetry.metrics.sketch import Sketch

READER = PlainReader()
SCALES = (10, 10**6, 10**9, 10**13, 2**63 - 1)


def counted(*parts: Columns) -> Board:
    board = Board.empty()
    for part in parts:
        board = board.plus(part, READER)
    return board


def cut(whole: Columns, start: int, stop: int) -> Columns:
    """Rows `start` to `stop` as columns of their own."""
    arrays = {name: getattr(whole, name)[start:stop] for name in FIXED}
    arrays |= {name: column[start:stop] for name, column in whole.optional().items()}
    return Columns(whole.first_seq + start, Payload.of(whole.payload.rows()[start:stop]), arrays)


@st.composite
def many_columns(draw: st.DrawFn) -> Columns:
    """Up to 300 rows of a few shapes, every column there or not, with gaps, zeros and extremes."""
    n = draw(st.sampled_from([1, 2, 3, 17, 300]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    given_: dict[str, object] = {
        "shape": chance.integers(1, 5, n),
        "flags": chance.choice([0, ENDS, ENDS | LLM, ENDS | WRAPS, ENDS | LLM | WRAPS], n),
        "outcome": chance.integers(0, 6, n),
        "model": chance.integers(0, 3, n),
        "error": chance.integers(0, 3, n),
    }
    for name in draw(st.sets(st.sampled_from(NANO))):
        values = chance.integers(0, draw(st.sampled_from(SCALES)), n, endpoint=True)
        given_[name] = np.where(chance.random(n) < 0.2, MISSING, values)
    for name in draw(st.sets(st.sampled_from(TOKENS))):
        values = chance.integers(0, draw(st.sampled_from([1, 5000, 2**31 - 1])), n, endpoint=True)
        given_[name] = np.where(chance.random(n) < 0.2, NO_TOKENS, values)
    return columns(n, **given_)


@given(many_columns(), st.data())
def test_f25_any_split_merged_in_any_order_is_the_same_board_to_the_bit(whole, data):
    size = len(whole)
    cuts = data.draw(st.lists(st.integers(0, size), max_size=49))
    edges = [0, *sorted(cuts), size]
    parts = [cut(whole, a, b) for a, b in pairwise(edges)]
    boards = [counted(part) for part in data.draw(st.permutations(parts))]
    while len(boards) > 1:
        at = data.draw(st.integers(0, len(boards) - 2))
        boards[at : at + 2] = [boards[at].merged(boards[at + 1])]
    assert boards[0] == counted(whole)
    assert counted(*data.draw(st.permutations(parts))) == counted(whole)


def by_hand(whole: Columns) -> dict[Key, dict[str, list[int]]]:
    """The values of each cell, row by row."""
    cells: dict[Key, dict[str, list[int]]] = {}
    for i in range(len(whole)):
        key = Key(
            READER.row_name(whole, i),
            int(whole.flags[i]),
            int(whole.outcome[i]),
            int(whole.model[i]),
        )
        cell = cells.setdefault(key, {"rows": []})
        cell["rows"].append(i)
        for name, column in whole.optional().items():
            if column[i] >= 0:
                cell.setdefault(name, []).append(int(column[i]))
    return cells


@given(many_columns())
def test_every_cell_has_what_a_row_by_row_count_has(whole):
    cells, expected = counted(whole).cells, by_hand(whole)
    assert cells.keys() == expected.keys()
    for key, cell in cells.items():
        values = expected[key]
        rows = values.pop("rows")
        assert cell.events == len(rows)
        assert cell.errors == Counter(int(whole.error[i]) for i in rows if whole.error[i])
        moments = {name: tally.moments for name, tally in cell.tallies.items()} | cell.tokens
        assert moments.keys() == values.keys()
        for name, numbers in values.items():
            assert moments[name] == Moments(
                len(numbers), sum(numbers), sum(v * v for v in numbers), min(numbers), max(numbers)
            )
            if name in cell.tallies:
                assert cell.tallies[name].spread == Sketch.of(np.array(numbers, np.int64))


@given(many_columns())
def test_tokens_unpriced_calls_and_pace_are_those_of_a_row_by_row_count(whole):
    there = {name: column >= 0 for name, column in whole.optional().items()}
    none = np.zeros(len(whole), bool)
    tokens = np.logical_or.reduce([none, *(there.get(name, none) for name in TOKENS)])
    call = (whole.flags & (ENDS | LLM | WRAPS)) == ENDS | LLM
    owed = call & (tokens | (whole.outcome == Outcome.OK)) & ~there.get("cost_pico", none)
    paced = there.get("completion", none) & there.get("latency_ns", none)
    cells = counted(whole).cells.values()
    assert sum(cell.with_tokens for cell in cells) == tokens.sum()
    assert sum(cell.unpriced for cell in cells) == owed.sum()
    if paced.any():
        assert sum(cell.paced_tokens for cell in cells) == sum(whole.completion[paced].tolist())
        assert sum(cell.paced_ns for cell in cells) == sum(whole.latency_ns[paced].tolist())


def test_two_shapes_of_one_name_share_a_cell():
    class OneName(PlainReader):
        def name(self, shape: int) -> str:
            return "llm.request.stop"

    cells = Board.empty().plus(columns(4, shape=[1, 2, 2, 3]), OneName()).cells
    assert {key.name: cell.events for key, cell in cells.items()} == {"llm.request.stop": 4}


class GenericReader(PlainReader):
    """Names rows of the generic shape by their seq."""

    def row_name(self, columns: Columns, index: int) -> str:
        return f"generic.{columns.first_seq + index}"


def test_generic_rows_are_counted_under_their_own_names():
    board = Board.empty()
    for first in (1, 4):
        board = board.plus(columns(3, first, shape=[0, 1, 0]), GenericReader())
    counts = {key.name: cell.events for key, cell in board.cells.items()}
    names = ["generic.1", "generic.3", "generic.4", "generic.6"]
    assert counts == {"event.1": 2, **dict.fromkeys(names, 1)}


def test_names_beyond_the_limit_are_counted_together(monkeypatch):
    monkeypatch.setattr(board_module, "MOST_NAMES", 10)
    board = counted(columns(100, shape=np.arange(1, 101), latency_ns=7))
    board = board.plus(columns(100, 101, shape=np.arange(1, 101), latency_ns=7), READER)
    names = {key.name for key in board.cells}
    assert len(names) == 11
    assert OTHER in names
    assert sum(cell.events for cell in board.cells.values()) == 200
    assert sum(cell.tallies["latency_ns"].moments.n for cell in board.cells.values()) == 200


def test_f09_generic_names_beyond_the_limit_join_the_others_whenever_they_are_counted(monkeypatch):
    monkeypatch.setattr(board_module, "MOST_NAMES", 10)
    parts = [columns(100, first, shape=0, latency_ns=3) for first in (1, 101, 201)]
    at_once, in_turn = Board.empty(), Board.empty()
    for part in parts:
        at_once = at_once.plus(part, GenericReader())
        in_turn = in_turn.plus(part, GenericReader())
        assert sum(cell.events for cell in in_turn.cells.values()) == part.last_seq
    assert at_once == in_turn
    assert {key.name for key in in_turn.cells} == {OTHER} | {f"generic.{i}" for i in range(1, 11)}


@pytest.mark.parametrize("column", ["shape", "model"])
def test_f09_a_flood_of_names_or_models_leaves_a_bounded_number_of_cells(monkeypatch, column):
    monkeypatch.setattr(board_module, "MOST_NAMES", 64)
    monkeypatch.setattr(board_module, "MOST_CELLS", 128)
    board = Board.empty()
    for first in range(1, 20_001, 1000):
        board = board.plus(columns(1000, first, **{column: np.arange(first, first + 1000)}), READER)
    assert len(board.cells) <= 129
    assert sum(cell.events for cell in board.cells.values()) == 20_000


def test_a_million_rows_in_one_piece_are_counted_exactly():
    n = 2**20 + 5
    arrays = {
        "timestamp_us": np.zeros(n, np.int64),
        "shape": np.ones(n, np.uint32),
        "flags": np.full(n, ENDS, np.uint8),
        **{name: np.zeros(n, np.uint16) for name in ("outcome", "model", "trial", "error")},
        "latency_ns": np.full(n, 2**62, np.int64),
    }
    payload = Payload(b"", np.zeros(n + 1, np.uint32))
    (cell,) = counted(Columns(1, payload, arrays)).cells.values()
    assert cell.tallies["latency_ns"].moments == Moments(n, n * 2**62, n * 2**124, 2**62, 2**62)


def test_adding_a_batch_leaves_the_board_before_as_it_was():
    before = counted(columns(5, latency_ns=3))
    after = before.plus(columns(9000, 6, latency_ns=4), READER)
    assert sum(cell.events for cell in before.cells.values()) == 5
    assert sum(cell.events for cell in after.cells.values()) == 9005
    assert before == counted(columns(5, latency_ns=3))


def test_only_the_touched_cells_are_made_anew():
    before = counted(columns(9000, shape=[1, 2, 3] * 3000, latency_ns=5))
    after = before.plus(columns(9000, 9001, shape=2, latency_ns=5), READER)
    same = {key.name for key, cell in after.cells.items() if before.cells[key] is cell}
    assert same == {"event.1", "event.3"}


def test_the_board_says_up_to_which_event_it_knows():
    board = Board.empty(since_seq=10)
    assert (board.since_seq, board.upto_seq) == (10, 10)
    board = board.plus(columns(5, 11), READER).plus(columns(0, 16), READER)
    assert (board.since_seq, board.upto_seq) == (10, 15)
    merged = Board.empty(since_seq=3).plus(columns(2, 4), READER).merged(board)
    assert (merged.since_seq, merged.upto_seq) == (3, 15)


def test_a_board_travels_by_pickle():
    board = counted(columns(50, shape=[1, 2] * 25, latency_ns=range(50), error=1))
    assert pickle.loads(pickle.dumps(board)) == board


def test_boards_of_different_events_differ():
    assert counted(columns(3, latency_ns=1)) != counted(columns(3, latency_ns=2))
    assert counted(columns(3, latency_ns=1)) != counted(columns(3, 2, latency_ns=1))
    assert Board.empty() != 0


@example(columns(3, latency_ns=[-5, MISSING, 4]))
@given(many_columns())
def test_what_is_below_zero_is_not_counted(whole):
    for cell in counted(whole).cells.values():
        assert all(tally.moments.minimum >= 0 for tally in cell.tallies.values())
        assert all(tally.moments.n == tally.spread.count for tally in cell.tallies.values())
