"""Speed of pricing: `python benchmarks/prices.py [--quick]`. Ratios of one run; see RESULTS.md.

First a cost from a column of tokens, all models known, against asking the price library for each event;
then the whole way of the typical event with its cost given, with its cost computed, and of a model nobody
knows, against encoding the same event and appending it to a list.
"""

import sys
from datetime import UTC, datetime

from event import typical_event
from measure import Contender, Options, compare, table
from peers import encode_and_append
from stage import Stage

from crucible_telemetry.collect.library import LIBRARY
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.pricelist import PriceBook
from crucible_telemetry.collect.pricing import Pricer
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import make_spec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.collect.wanted import Guard
from crucible_telemetry.events.shape import encode_row

MODELS = ("gpt-4o", "gpt-4o-mini", "o1", "gpt-4-turbo", "gpt-4.1", "gpt-4.1-mini", "o3", "gpt-5")
ROWS = 2048
DAY_US = 86_400_000_000
BEGIN_US = 1_760_000_000_000_000


def with_cost(i):
    name, measurements, metadata = typical_event(i)
    return name, {**measurements, "cost_usd": 0.002875}, metadata


def unknown(i):
    name, measurements, metadata = typical_event(i)
    return name, measurements, {**metadata, "model": f"my-model-{i}"}


def direct() -> Contender:
    import genai_prices

    when = datetime(2025, 10, 9, tzinfo=UTC)

    def record(n: int) -> None:
        for i in range(n):
            genai_prices.calc_price(
                genai_prices.Usage(input_tokens=550, output_tokens=150),
                MODELS[i % len(MODELS)],
                provider_id="openai",
                genai_request_timestamp=when,
            )

    return Contender("genai_prices.calc_price, event by event", record)


def columns(name: str, models, days: int) -> Contender:
    """Pricing alone: batches of 2,048 rows of these models, spread over so many days."""
    spec = make_spec("bench", {})
    reader = ExperimentReader("bench", spec, Trials())
    guard = Guard(spec, b"k" * 32)
    preparer = Preparer(reader, guard, Pricer(PriceBook(True), reader, guard))  # noqa: FBT003
    rows = []
    for i in range(ROWS):
        event, measurements, metadata = typical_event(i)
        metadata["model"] = models[i % len(models)]
        at_us = BEGIN_US + i * days * DAY_US // ROWS
        rows.append(encode_row(at_us, event, measurements, metadata, 0, None)[0])
    whole = preparer.prepare(rows, 1, 0)

    def record(n: int) -> None:
        for start in range(0, n, ROWS):
            batch = whole if start + ROWS <= n else rests[n % ROWS]
            batch.columns.cost_pico = None
            preparer.priced(batch)

    class Rests(dict):
        def __missing__(self, size):
            self[size] = preparer.prepare(rows[:size], 1, 0)
            return self[size]

    rests = Rests()

    return Contender(name, record)


def main() -> None:
    options = Options.from_flags(sys.argv[1:])
    LIBRARY.load()
    print("### Prices: from tokens to cost\n")
    pricing = [
        columns("a batch of 2,048, eight models", MODELS, 1),
        columns("a batch of 2,048, eight models over 30 days", MODELS, 30),
        direct(),
    ]
    baseline = columns("a batch of 2,048, one model", MODELS[:1], 1)
    print(table(compare(baseline, pricing, options), options))
    stage = Stage()
    print("\n### Prices: the whole way\n")
    whole = [
        stage.whole("cost given", wait=False, event=with_cost),
        stage.whole("no cost, prices=False", wait=False, prices=False),
        stage.whole("cost computed", wait=False),
        stage.whole("every event another model nobody knows", wait=False, event=unknown),
        stage.whole("the same, prices=False", wait=False, event=unknown, prices=False),
    ]
    print(table(compare(encode_and_append(), whole, options), options))
    stage.close()


if __name__ == "__main__":
    main()
