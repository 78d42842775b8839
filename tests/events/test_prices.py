"""Rates and tariffs: exact to the pico-dollar, additive, every token paid once; entries as users write them."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.events.columns import MISSING, NO_TOKENS
from crucible_telemetry.events.prices import Rates, Tariff, exact, spellings, tariff_of

WHOLE = st.integers(0, 10**9).map(Fraction)
RATE = st.one_of(WHOLE, st.fractions(0, 10**8, max_denominator=10**11))
TOKENS = st.integers(0, 2**31 - 1)


@st.composite
def calls(draw, tokens=TOKENS):
    """Counts of one call: cached and newly cached within the input, reasoning within the output."""
    prompt, completion = draw(tokens), draw(tokens)
    cached = draw(st.integers(0, prompt))
    return (
        prompt,
        completion,
        cached,
        draw(st.integers(0, prompt - cached)),
        draw(st.integers(0, completion)),
    )


def rates(rate=RATE):
    part = st.none() | rate
    return st.builds(
        Rates, input=rate, output=rate, cached=part, cache_write=part, reasoning=part, request=rate
    )


def by_hand(rate, call):
    """The cost of a call, each token paid once at the most specific rate."""
    prompt, completion, cached, written, reasoning = call
    parts = [(cached, rate.cached), (written, rate.cache_write)]
    paid = [(n, own) for n, own in parts if own is not None]
    total = sum(n * own for n, own in paid) + (prompt - sum(n for n, _ in paid)) * rate.input
    thought = rate.output if rate.reasoning is None else rate.reasoning
    return total + (completion - reasoning) * rate.output + reasoning * thought + rate.request


def as_columns(rows):
    return [np.array(column, np.int64) for column in zip(*rows, strict=True)]


@given(rates(), st.lists(calls(), min_size=1, max_size=8))
def test_a_column_costs_what_each_call_costs_by_hand_rounded_half_to_even(rate, rows):
    costs, odd = Tariff(rate).costs(as_columns(rows))
    expected = [round(by_hand(rate, row)) for row in rows]
    assert costs.tolist() == [cost if cost < 2**62 else MISSING for cost in expected]
    assert odd == 0


@given(rates(WHOLE), calls(st.integers(0, 10**5)), calls(st.integers(0, 10**5)))
def test_cost_is_additive_where_rates_are_linear(rate, one, other):
    tariff = Tariff(rate)
    together = [a + b for a, b in zip(one, other, strict=True)]
    assert tariff.cost(*together) + int(rate.request) == tariff.cost(*one) + tariff.cost(*other)


@given(rates(WHOLE), calls(st.integers(1, 10**5)))
def test_cached_tokens_beyond_the_input_have_no_price_and_are_named_as_odd(rate, call):
    prompt, completion, _, written, reasoning = call
    costs, odd = Tariff(rate).costs(
        as_columns([(prompt, completion, prompt + 1, written, reasoning)])
    )
    assert (costs.tolist(), odd) == ([MISSING], 1)
    assert Tariff(rate).cost(prompt, completion, 0, 0, completion + 1) is None


@pytest.mark.parametrize(
    ("tokens", "expected"), [(200_000, 200_000), (200_001, 400_002), (1, 1), (500_000, 1_500_000)]
)
def test_beyond_a_threshold_the_rates_above_hold_for_the_whole_call(tokens, expected):
    tariff = Tariff(
        Rates(input=Fraction(1), output=Fraction(0)),
        {
            400_000: Rates(input=Fraction(3), output=Fraction(0)),
            200_000: Rates(input=Fraction(2), output=Fraction(0)),
        },
    )
    assert tariff.cost(tokens, 0, 0, 0, 0) == expected
    assert tariff.costs(as_columns([(tokens, 0, 0, 0, 0), (1, 0, 0, 0, 0)]))[0].tolist() == [
        expected,
        1,
    ]


@pytest.mark.parametrize(
    ("counts", "priced"),
    [
        ((5, NO_TOKENS), False),
        ((NO_TOKENS, 5), False),
        ((NO_TOKENS, NO_TOKENS), False),
        ((5, 0), True),
    ],
)
def test_a_count_that_is_not_known_is_not_taken_for_none_at_all(counts, priced):
    cost = Tariff(Rates(input=Fraction(1), output=Fraction(1))).cost(*counts, *[NO_TOKENS] * 3)
    assert (cost is not None) is priced


def test_tokens_without_a_rate_are_not_free():
    embedding = Tariff(Rates(input=Fraction(2)))
    assert embedding.cost(10, NO_TOKENS, NO_TOKENS, NO_TOKENS, NO_TOKENS) == 20
    assert embedding.cost(10, 0, 0, 0, 0) == 20
    assert embedding.cost(10, 1, 0, 0, 0) is None


def test_an_entry_of_ours_and_the_same_of_litellm_are_one_tariff():
    ours = tariff_of({
        "input_usd_per_mtok": 1.25, "output_usd_per_mtok": 10, "cached_input_usd_per_mtok": 0.125,
        "above": [{"input_tokens": 200_000, "input_usd_per_mtok": 2.5}],
    })  # fmt: skip
    theirs = tariff_of({
        "litellm_provider": "x", "mode": "chat", "max_tokens": 8192, "input_cost_per_audio_token": 1,
        "input_cost_per_token": 1.25e-06, "output_cost_per_token": Decimal("0.00001"),
        "cache_read_input_token_cost": 1.25e-07, "cache_creation_input_token_cost": None,
        "input_cost_per_token_above_200k_tokens": 2.5e-06,
        "cache_creation_input_token_cost_above_1hr": 1,
    })  # fmt: skip
    assert ours == theirs
    assert ours.cost(1000, 100, 400, 0, 0) == 600 * 1_250_000 + 400 * 125_000 + 100 * 10_000_000
    assert ours.cost(200_001, 0, 200_001, 0, 0) == 200_001 * 125_000


@pytest.mark.parametrize(
    "entry", [{"mode": "image", "input_cost_per_pixel": 1e-8}, {"litellm_provider": "x"}]
)
def test_an_entry_of_litellm_that_prices_no_tokens_is_passed_over(entry):
    assert tariff_of(entry) is None


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({}, "names no rate"),
        ({"input": 1}, "names no rate; known are"),
        ({"above": []}, "names no rate"),
        ({"input_usd_per_mtok": 1, "colour": 2}, "unknown key 'colour'"),
        ({"input_usd_per_mtok": -1}, "input_usd_per_mtok: want a number ≥ 0"),
        ({"input_usd_per_mtok": "1"}, "want a number of dollars"),
        ({"input_usd_per_mtok": True}, "want a number of dollars"),
        ({"input_usd_per_mtok": float("nan")}, "want a finite number"),
        ({"input_usd_per_mtok": 1, "above": 3}, "above: want a list"),
        ({"input_usd_per_mtok": 1, "above": [{"input_tokens": 0}]}, "input_tokens"),
        ({"input_usd_per_mtok": 1, "above": [{"input_tokens": 9}]}, "names no rate"),
        (7, "want a table of rates"),
    ],
)
def test_an_entry_that_is_wrong_says_why(entry, why):
    with pytest.raises(ct.ConfigurationError, match=why):
        tariff_of(entry)


@given(st.integers(0, 10**6), st.integers(0, 12))
def test_a_float_is_the_number_that_is_written(number, digits):
    text = f"{number}e-{digits}"
    assert exact(float(text)) == exact(Decimal(text)) == Fraction(text)


def test_a_name_is_looked_for_from_the_most_specific_spelling_on():
    assert spellings("openai", "gpt-4o") == ["openai/gpt-4o", "gpt-4o"]
    assert spellings(None, "azure/gpt-4o") == ["azure/gpt-4o", "gpt-4o"]
    assert spellings("a", "b/c") == ["a/b/c", "a/c", "b/c", "c"]
