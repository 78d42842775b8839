"""The price library behind our matching and our arithmetic: the same models, the same cost, to the pico-dollar."""

import datetime as dt
import random
from fractions import Fraction

import numpy as np
import pytest

from crucible_telemetry.collect.library import KEPT, LIBRARY, Library
from crucible_telemetry.collect.pricing import _of_day
from crucible_telemetry.events.columns import MISSING, NO_TOKENS

genai_prices = pytest.importorskip("genai_prices", reason="the extra [prices] is not installed")
from genai_prices import data_snapshot, types  # noqa: E402 - after the skip

SNAPSHOT = data_snapshot.get_snapshot()
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
DATES = [
    dt.datetime(2023, 3, 1, 12, tzinfo=dt.UTC),
    dt.datetime(2025, 3, 1, 20, 30, tzinfo=dt.UTC),
    dt.datetime(2025, 9, 30, 3, 59, 59, 999_999, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 20, 4, tzinfo=dt.UTC),
]
MIXES = [  # prompt, completion, cached, cache_write, reasoning; around each threshold of the data
    (0, 0, 0, 0, 0), (1, 1, 0, 0, 0), (1_234, 567, 0, 0, 0), (1_234, 567, 1_000, 0, 0),
    (5_000, 901, 1_111, 2_222, 333), (32_000, 7, 3, 0, 7), (32_001, 7, 3, 0, 0),
    (128_000, 11, 64_000, 1, 0), (128_001, 11, 64_000, 1, 0), (200_000, 13, 0, 0, 0),
    (200_001, 13, 17, 19, 1), (272_001, 4_001, 272_001, 0, 4_000), (600_000, 100_000, 1, 1, 1),
]  # fmt: skip
KEYS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
        "output_reasoning_tokens")  # fmt: skip
TOKEN_PRICES = {"input_mtok", "output_mtok"}


@pytest.fixture(scope="module", autouse=True)
def loaded():
    LIBRARY.load()
    assert LIBRARY.missing is None


def theirs(provider, model, mix, when):
    """Their cost in dollars; None where tokens have no rate."""
    price = vars(model.get_prices(when))
    given = {key for key, value in price.items() if value is not None}
    free = not given and ":free" in model.id
    if given.isdisjoint(TOKEN_PRICES) and not free:
        return None
    if not free and any(
        n and key not in given for n, key in zip(mix, ("input_mtok", "output_mtok"), strict=False)
    ):
        return None
    usage = genai_prices.Usage(**dict(zip(KEYS, mix, strict=True)))
    return model.calc_price(usage, provider, genai_request_timestamp=when).total_price


def test_every_model_costs_what_the_library_says_at_every_time_for_every_mix():
    counts = [np.array(column, np.int64) for column in zip(*MIXES, strict=True)]
    compared = 0
    for provider in SNAPSHOT.providers:
        for model in provider.models:
            for when in DATES:
                micros = (when - EPOCH) // dt.timedelta(microseconds=1)
                expected = [theirs(provider, model, mix, when) for mix in MIXES]
                times = np.full(len(MIXES), micros)
                costs = _of_day(LIBRARY.of_model(model, (when - EPOCH).days), counts, times, {})
                for mix, cost, price in zip(MIXES, costs.tolist(), expected, strict=True):
                    said = (provider.id, model.id, when, mix, price)
                    assert (cost == MISSING) is (price is None), said
                    # Their sums have 28 digits: exact but for a rate that no decimal can write.
                    assert price is None or abs(Fraction(price) * 10**12 - cost) <= Fraction(
                        1, 2
                    ) + Fraction(1, 10**6), said
                    compared += price is not None
    assert compared > 100_000


def some_names():
    names = {model.id for provider in SNAPSHOT.providers for model in provider.models}

    def add(clause):
        for attribute in ("equals", "starts_with", "contains", "ends_with"):
            part = getattr(clause, attribute, None)
            names.update(
                [] if part is None else [part, f"{part}-20251211", f"x-{part}", part.upper()]
            )
        for each in getattr(clause, "or_", ()):
            add(each)

    for provider in SNAPSHOT.providers:
        for model in provider.models:
            add(model.match)
    return sorted(names)


def test_names_match_as_the_library_matches_them():
    names, chance = some_names(), random.Random(11)
    for provider in SNAPSHOT.providers:
        for name in chance.sample(names, 250) + [model.id for model in provider.models]:
            expected = provider.find_model(name, all_providers=SNAPSHOT.providers)
            assert LIBRARY.model(provider.id, name) is expected or (
                expected is None and "/" in name
            ), (provider.id, name)


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("OpenAI ", "GPT-4o-2024-08-06", "gpt-4o"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        (None, "gpt-4o", "gpt-4o"),
        (None, "openai/gpt-4o", "gpt-4o"),
        (None, "azure/gpt-4o", "gpt-4o"),
        (None, "anthropic/claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
        (None, "bedrock/us.anthropic.claude-3-5-sonnet-20241022-v2:0",
         "regional.anthropic.claude-3-5-sonnet-20241022-v2:0"),
        (None, "openrouter/openai/gpt-4o", "openai/gpt-4o"),
        ("litellm", "openai/gpt-4o", "gpt-4o"),
        ("openai", "no-such-model", None),
        ("no-such-provider", "gpt-4o", None),
        (None, "no-such-model", None),
        (None, "no-such-provider/gpt-4o", None),
    ],
)  # fmt: skip
def test_a_prefix_names_the_provider_where_none_is_given(provider, model, found):
    model_found = LIBRARY.model(provider, model)
    assert (model_found and model_found.id) == found


def test_a_name_without_a_provider_is_its_makers_as_in_the_library():
    for name in some_names():
        if "/" in name:
            continue
        try:
            expected = SNAPSHOT.find_provider_model(name, None, None, None)[1]
        except LookupError:
            expected = None
        assert LIBRARY.model(None, name) is expected, name


def test_a_name_that_several_makers_claim_has_no_price():
    model = types.ModelInfo(id="m", match=types.ClauseEquals("m"))
    makers = [
        types.Provider(
            id=name,
            name=name,
            api_pattern="",
            models=[model],
            model_match=types.ClauseContains("m"),
        )
        for name in ("one", "two")
    ]
    assert Library.of(makers[:1]).model(None, "m") is model
    assert Library.of(makers).model(None, "m") is None
    assert Library.of(makers).model("two", "m") is model


def test_a_price_that_changed_is_the_one_of_the_day():
    day = {y: (dt.date(y, 11, 1) - dt.date(1970, 1, 1)).days for y in (2024, 2026)}
    changed = [
        (provider.id, model.id)
        for provider in SNAPSHOT.providers
        for model in provider.models
        if isinstance(model.prices, list) and len(model.prices) > 1
        and LIBRARY.of_model(model, day[2024]) != LIBRARY.of_model(model, day[2026])
    ]  # fmt: skip
    assert len(changed) > 50


def test_a_model_without_token_rates_has_no_price_unless_it_is_called_free():
    day = 20_500
    assert LIBRARY.tariffs("groq", "whisper-large-v3", day) == ((0, None),)
    assert LIBRARY.tariffs("github-copilot", "gpt-4o", day) == ((0, None),)
    ((_, free),) = LIBRARY.tariffs("openrouter", "deepseek/deepseek-chat-v3-0324:free", day)
    assert free.cost(10**6, 10**6, NO_TOKENS, NO_TOKENS, NO_TOKENS) == 0


@pytest.mark.parametrize("day", [-(2**27), 2**27 - 1, -719_163, 2_932_897])
def test_a_day_that_no_calendar_has_has_no_price(day):
    assert LIBRARY.tariffs("openai", "gpt-4o", day) is None


def test_names_nobody_knows_are_forgotten_again():
    for number in range(2 * KEPT):
        assert LIBRARY.tariffs("openai", f"unknown-{number}", 20_000) is None
    assert LIBRARY.remembered <= 2 * KEPT
