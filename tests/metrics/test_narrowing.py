"""Quantiles found by passes against the values themselves."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from make import PlainReader, columns

from crucible_telemetry.analysis import flat, reading
from crucible_telemetry.events.columns import ENDS, LLM, MISSING, WRAPS
from crucible_telemetry.metrics import narrowing, summary
from crucible_telemetry.metrics.config import MetricsConfig
from crucible_telemetry.metrics.figures import Timing
from crucible_telemetry.metrics.narrowing import codes_of, floats_of
from crucible_telemetry.metrics.rest import at_rest

TIMING = Timing(active_s=7.5)
CONFIG = MetricsConfig(custom=("score",))


class Scored(PlainReader):
    """Rows have a score, from their seq: of either sign, some of them far out."""

    def fields(self, columns):
        seqs = columns.seqs(np.arange(len(columns))).astype(float)
        return {
            "score": np.where(seqs % 7 == 0, np.nan, (seqs % 13 - 6) * 10.0 ** (seqs % 40 - 20))
        }


READER = Scored()


def parts_of(seed, sizes, kind):
    rng, found, seq = np.random.default_rng(seed), [], 1
    for n in sizes:
        given = {name: MEASURED[kind](rng, n) for name in ("latency_ns", "ttft_ns", "cost_pico")}
        found.append(
            columns(
                n, seq, shape=rng.integers(1, 4, n), flags=rng.choice([0, ENDS, ENDS | LLM, ENDS | WRAPS], n),
                outcome=rng.integers(0, 5, n), model=rng.integers(0, 3, n),
                **{name: np.where(rng.random(n) < 0.1, MISSING, values) for name, values in given.items()},
            )
        )  # fmt: skip
        seq += n
    return found


MEASURED = {
    "spread": lambda rng, n: rng.lognormal(18, 4, n).astype(np.int64),
    "alike": lambda rng, n: rng.integers(10**9, 10**9 + 3, n),
    "zeros": lambda rng, n: rng.integers(0, 2, n),
    "narrow": lambda rng, n: rng.integers(2**40, 2**40 + 2**33, n),
    "widest": lambda rng, n: rng.integers(0, 2**63 - 1, n),
    "largest": lambda rng, n: 2**63 - 1 - rng.integers(0, 3, n),
}


async def by_passes(parts, by_event):
    passes = 0

    async def again():
        nonlocal passes
        passes += 1
        for part in parts:
            yield part

    first = await flat.first_pass(again(), READER)
    rules = summary.Figures(READER, TIMING, CONFIG)

    def made(board):
        return summary.summarised(board, rules, custom={}, by_event=by_event, exact=True)

    return await flat.in_passes(first.board, made, again, READER), passes


@pytest.mark.asyncio
@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=3),
    kind=st.sampled_from([*MEASURED]),
    room=st.sampled_from([0, 50, 2**20]),
    by_event=st.booleans(),
)
async def test_figures_by_passes_are_those_of_the_values_to_the_bit(
    seed, sizes, kind, room, by_event
):
    parts = parts_of(seed, sizes, kind)
    wanted = at_rest(parts, READER, TIMING, by_event=by_event, config=CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrowing, "GATHERED", room)
        patch.setattr(narrowing, "PARTS", 16 if room else 2**12)
        found, _ = await by_passes(parts, by_event)
    assert found == wanted


@pytest.mark.asyncio
async def test_two_passes_are_enough_where_values_are_spread():
    _, passes = await by_passes(parts_of(1, [2000] * 20, "spread"), by_event=True)
    assert passes == 2


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_codes_are_in_the_order_of_the_floats(values):
    given = np.array(values)
    codes = codes_of(given)
    assert (floats_of(codes) == given).all()
    assert (codes[np.argsort(given, kind="stable")] == np.sort(codes)).all()


@pytest.mark.asyncio
async def test_a_lab_on_a_file_gives_the_same_figures_in_passes_as_at_once(tmp_path, monkeypatch):
    import crucible_telemetry as ct

    async with ct.Lab(tmp_path / "runs.db") as lab, lab.experiment("e") as exp:
        for i in range(300):
            await ct.execute(
                "llm.call.stop",
                {"duration_ms": i * 7919 % 301, "total_cost": i % 5 / 1000},
                {"model": f"m{i % 3}", "item": i},
                at_us=1_700_000_000_000_000 + i * 10_000_000,
            )
        await exp.flush()
        for where in (None, ct.Where(model="m1")):
            at_once = await exp.metrics(where, by="event")
            monkeypatch.setattr(reading, "AT_ONCE", 0)
            in_passes = await exp.metrics(where, by="event")
            monkeypatch.undo()
            assert in_passes.latency == at_once.latency
            assert in_passes.cost == at_once.cost
            assert in_passes.events == at_once.events
            assert in_passes.summary.time_range == at_once.summary.time_range
            assert in_passes.since_seq == at_once.since_seq
            assert in_passes.exact
        rows = await exp.windowed_metrics(timedelta(minutes=5))
        assert [row.exact for row in rows] == [False] * 10
        assert sum(row.event_count for row in rows) == 300
        narrow = await exp.windowed_metrics(timedelta(seconds=300.5))
        assert all(row.exact for row in narrow)
        some = await exp.windowed_metrics(timedelta(minutes=5), where=ct.Where(model="m1"))
        assert all(row.exact for row in some)
        assert sum(row.event_count for row in some) == 100
