"""What an event costs whose producer did not say: whose prices, which day, and what is never invented."""

import datetime as dt
import json
import logging
import sys

import pytest

import crucible_telemetry as ct
from crucible_telemetry.collect import pricelist, pricing
from crucible_telemetry.collect.library import LIBRARY, Library
from crucible_telemetry.collect.words import LIMIT

ONE = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
TOKENS = {"input_tokens": 1000, "output_tokens": 100}
ONE_USD = 0.0012


def us(*date):
    return int(dt.datetime(*date, tzinfo=dt.UTC).timestamp() * 1e6)


async def costs(*events, prices=None, **options):
    """(costs in USD, the experiment) of events given as (measurements, metadata) or with `at_us` third."""
    async with ct.Lab(prices=prices) as lab, lab.experiment("a", **options) as exp:
        for measurements, metadata, *at_us in events:
            ct.execute_nowait(
                "llm.x.stop", measurements, metadata, at_us=at_us[0] if at_us else None
            )
        found = [event.cost_usd for event in await exp.events()]
        assert exp.counts.stored == len(events)
        live, rest = exp.live(), await exp.metrics()
        assert (live.cost.count, live.cost.total) == (rest.cost.count, rest.cost.total)
    return found, exp


@pytest.mark.asyncio
async def test_what_the_event_says_comes_before_every_price_list():
    given = [
        ({**TOKENS, "cost_usd": 7.0}, {"model": "m"}),
        ({**TOKENS, "cost_usd": 0}, {"model": "m"}),
    ]
    assert (await costs(*given, prices={"m": ONE}))[0] == [7.0, 0.0]


@pytest.mark.asyncio
async def test_the_users_prices_come_before_the_librarys_and_the_qualified_name_first():
    prices = {"gpt-4o": ONE, "azure/gpt-4o": {"input_usd_per_mtok": 10, "output_usd_per_mtok": 20}}
    events = [
        (TOKENS, {"provider": "openai", "model": "gpt-4o"}),
        (TOKENS, {"provider": "azure", "model": "gpt-4o"}),
        (TOKENS, {"model": "azure/gpt-4o"}),
        (TOKENS, {"model": "gpt-4o"}),
        (TOKENS, {"provider": "p", "model": "q"}),
    ]
    found, exp = await costs(*events, prices=prices)
    assert found == [0.0012, 0.012, 0.012, 0.0012, None]
    assert exp.live().cost.unpriced == 1


@pytest.mark.asyncio
async def test_what_the_users_prices_do_not_know_is_asked_of_the_library():
    pytest.importorskip("genai_prices")
    event = (TOKENS, {"provider": "openai", "model": "gpt-4o"})
    assert (await costs(event, prices={"m": ONE}))[0] == [0.0035]


@pytest.mark.asyncio
async def test_false_prices_nothing_and_an_experiment_may_have_prices_of_its_own():
    event = (TOKENS, {"model": "gpt-4o"})
    found, exp = await costs(event, prices=False)
    assert (found, exp.live().cost.unpriced) == ([None], 1)
    async with ct.Lab(prices=False) as lab:
        for own, cost in (({"gpt-4o": ONE}, ONE_USD), (None, None)):
            async with lab.experiment("own", prices=own) as exp:
                ct.execute_nowait("llm.x.stop", *event)
                assert [e.cost_usd for e in await exp.events()] == [cost]
        with pytest.raises(ct.ConfigurationError, match="'gpt-4o': names no rate"):
            await lab.start_experiment("wrong", prices={"gpt-4o": {}})


@pytest.mark.parametrize(
    ("measurements", "metadata", "cost"),
    [
        (TOKENS, {"model": "m"}, ONE_USD),
        ({"usage": {"input_tokens": 1000, "output_tokens": 100, "cached_tokens": 400}}, {"model": "m"}, 0.00084),
        ({**TOKENS, "cached_tokens": 400}, {"model": "m"}, 0.00084),
        ({**TOKENS, "reasoning_tokens": 50}, {"model": "m"}, ONE_USD),
        ({"input_tokens": 1000, "total_tokens": 1100}, {"model": "m"}, ONE_USD),
        ({"output_tokens": 100, "total_tokens": 1100}, {"model": "m"}, ONE_USD),
        ({"input_tokens": 1000}, {"model": "m"}, None),
        ({"total_tokens": 1100}, {"model": "m"}, None),
        ({**TOKENS, "cached_tokens": 1001}, {"model": "m"}, None),
        ({**TOKENS, "reasoning_tokens": 101}, {"model": "m"}, None),
        ({**TOKENS, "cost": -1}, {"model": "m"}, ONE_USD),
        (TOKENS, {"provider": "p"}, None),
        (TOKENS, {"model": "m" * 300}, None),
        ({"duration": 5}, {"model": "m"}, None),
    ],
)  # fmt: skip
@pytest.mark.asyncio
async def test_tokens_are_paid_once_and_what_is_not_said_is_not_invented(
    measurements, metadata, cost
):
    prices = {"m": {**ONE, "cached_input_usd_per_mtok": 0.1}, "m" * 300: ONE}
    assert (await costs((measurements, metadata), prices=prices))[0] == [cost]


@pytest.mark.asyncio
async def test_counts_that_contradict_each_other_are_marked():
    _, exp = await costs(({**TOKENS, "cached_tokens": 2000}, {"model": "m"}), prices={"m": ONE})
    assert exp.health().marks == {"token_counts": 1}


@pytest.mark.asyncio
async def test_only_what_ends_an_operation_is_priced():
    async with ct.Lab(prices={"m": ONE}) as lab, lab.experiment("a") as exp:
        ct.execute_nowait("llm.x.start", TOKENS, {"model": "m"})
        ct.execute_nowait("llm.x.exception", TOKENS, {"model": "m"})
        assert [event.cost_usd for event in await exp.events()] == [None, ONE_USD]


@pytest.mark.asyncio
async def test_a_call_is_priced_by_its_own_day_and_hour():
    pytest.importorskip("genai_prices")
    chat = {"provider": "deepseek", "model": "deepseek-chat"}
    early, night, day, gone = (
        us(2023, 6, 1),
        us(2025, 3, 1, 20),
        us(2025, 3, 1, 12),
        us(2025, 3, 2, 20),
    )
    events = [(TOKENS, chat, at) for at in (night, day, gone, early)]
    found, _ = await costs(*events)
    expected = [
        ct.estimate_cost(**chat, **TOKENS, day=dt.datetime.fromtimestamp(at / 1e6, dt.UTC))
        for at in (early, night, day, gone)
    ]
    assert sorted(found) == sorted(expected)
    assert len(set(found)) > 1


@pytest.mark.asyncio
async def test_a_callable_is_asked_once_a_model_and_day_and_sees_the_day_of_the_event():
    asked = []

    def price(provider, model, day):
        asked.append((provider, model, day))
        return ONE if day.year == 2023 else None

    events = [
        (TOKENS, {"provider": "p", "model": "m"}, us(year, 5, 17, hour))
        for hour in (1, 23) for year in (2023, 2023, 2024)
    ]  # fmt: skip
    found, exp = await costs(*events, prices=price)
    assert found.count(ONE_USD) == 4
    assert sorted(asked, key=str) == [
        ("p", "m", dt.date(2023, 5, 17)),
        ("p", "m", dt.date(2024, 5, 17)),
    ]
    assert exp.live().cost.unpriced == 2


@pytest.mark.parametrize("answer", [ZeroDivisionError, {"colour": 1}, 7])
@pytest.mark.asyncio
async def test_f05_a_price_call_that_fails_loses_no_event_and_marks_it(answer):
    def price(provider, model, day):
        if answer is ZeroDivisionError:
            raise ZeroDivisionError("no price today")
        return answer

    found, exp = await costs(*[(TOKENS, {"model": "m"})] * 3, prices=price)
    assert found == [None] * 3
    assert exp.health().marks == {"price_lookup": 3}
    assert exp.health().errors["price_lookup"]
    assert exp.live().cost.unpriced == 3


@pytest.mark.parametrize("suffix", [".json", ".toml"])
@pytest.mark.asyncio
async def test_prices_come_from_a_file_in_our_form_or_litellms(tmp_path, suffix):
    path = tmp_path / f"prices{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps({
            "sample_spec": {"input_cost_per_token": 0.0, "mode": "one of chat", "litellm_provider": "x"},
            "an-image": {"mode": "image_generation", "output_cost_per_image": 0.04},
            "m": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "litellm_provider": "p"},
        }))  # fmt: skip
    else:
        path.write_text('["p/m"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 2\n')
    for given in (path, str(path)):
        assert (await costs((TOKENS, {"provider": "p", "model": "m"}), prices=given))[0] == [
            ONE_USD
        ]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("p.json", "{", "p.json: Expecting"),
        ("p.json", "[]", "p.json: want a table of models"),
        ("p.json", '{"m": {"input": 1}}', "p.json: 'm': names no rate"),
        ("p.json", '{"m": {"input_usd_per_mtok": NaN}}', "p.json: 'm': input_usd_per_mtok: want a finite"),
        ("p.toml", "a = ", "p.toml: "),
        ("p.yaml", "", "p.yaml: want a .json or .toml file"),
        (None, "", "no-such.json: .*No such file"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_when_the_lab_is_made(tmp_path, name, text, why):
    path = tmp_path / (name or "no-such.json")
    if name:
        path.write_text(text)
    with pytest.raises(ct.ConfigurationError, match=f"prices: .*{why}"):
        ct.Lab(prices=path)


@pytest.mark.parametrize(
    ("prices", "why"),
    [(7, "want a mapping"), ({"": ONE}, "want the name"), ({3: ONE}, "want the name")],
)
def test_prices_of_another_kind_are_refused(prices, why):
    with pytest.raises(ct.ConfigurationError, match=why):
        ct.Lab(prices=prices)


@pytest.mark.asyncio
async def test_models_beyond_the_vocabulary_have_prices_of_their_own():
    prices = {f"m{i}": {"input_usd_per_mtok": i, "output_usd_per_mtok": 0} for i in range(9)}
    async with ct.Lab(prices=prices) as lab, lab.experiment("a", privacy="none") as exp:
        for i in range(LIMIT):
            exp._collector.reader.models.number(("p", f"w{i}"))
        for i in [*range(9), *range(9)]:
            ct.execute_nowait(
                "llm.x.stop", {"input_tokens": 10**6, "output_tokens": 0}, {"model": f"m{i}"}
            )
        events = await exp.events()
    assert [event.cost_usd for event in events] == [float(i) for i in range(9)] * 2
    assert {event.model for event in events} == {"(other)"}


@pytest.mark.asyncio
async def test_without_the_library_calls_are_unpriced_and_one_warning_says_how_to_get_it(
    monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    absent = Library()
    absent.load()
    for module in (pricelist, pricing):
        monkeypatch.setattr(module, "LIBRARY", absent)
    with caplog.at_level(logging.WARNING, "crucible_telemetry"):
        for _ in range(2):
            found, exp = await costs(
                (TOKENS, {"model": "gpt-4o"}), (TOKENS, {"model": "m"}), prices={"m": ONE}
            )
            assert found == [None, ONE_USD]
            assert exp.live().cost.unpriced == 1
    assert [
        r.getMessage() for r in caplog.records if "crucible-telemetry[prices]" in r.getMessage()
    ] == [caplog.records[0].getMessage()]


def test_an_estimate_is_the_price_of_the_event_it_foretells():
    call = {"model": "m", "input_tokens": 1000, "output_tokens": 100}
    assert ct.estimate_cost(**call, prices={"m": ONE}) == ONE_USD
    assert ct.Lab(prices={"m": ONE}).estimate_cost(**call) == ONE_USD
    assert ct.estimate_cost(**call, prices=False) is None
    assert ct.Lab(prices=False).estimate_cost(**call) is None
    for wrong in (-1, 1.5, True, 2**31):
        with pytest.raises(ct.ConfigurationError, match="tokens"):
            ct.estimate_cost(model="m", input_tokens=wrong, output_tokens=0, prices={"m": ONE})
    with pytest.raises(ct.ConfigurationError, match="day"):
        ct.estimate_cost(**call, day="2023-01-01", prices={"m": ONE})


def test_an_estimate_by_the_library_is_of_its_day():
    pytest.importorskip("genai_prices")
    call = {"provider": "openai", "model": "gpt-4o", "input_tokens": 550, "output_tokens": 150}
    assert ct.estimate_cost(**call) == 0.002875
    assert ct.estimate_cost(**call, day=dt.date(2024, 12, 1), cached_tokens=500) == 0.00225
    assert ct.estimate_cost(provider="x", model="gpt-4o", input_tokens=1, output_tokens=1) is None
    assert LIBRARY.ready
