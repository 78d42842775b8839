"""How large a batch is: what users' code costs makes it smaller, a busy machine does not."""

import pytest

from crucible_telemetry.collect.careful import MAX_BATCH, MIN_OWN, MIN_PACED, PACE_NS, Careful
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import make_spec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.collect.wanted import Guard


class Streamed:
    def add(self, event): ...

    def result(self): ...


def careful(**options):
    spec = make_spec("pace", options)
    return Careful(Preparer(ExperimentReader("pace-1", spec, Trials()), Guard(spec, b"k" * 16)))


def after_slow_batches(one):
    for _ in range(20):
        one.pace(MAX_BATCH, 100 * PACE_NS)
        one.pace(one.limit(0), 100 * PACE_NS)
    return one.limit(0)


def test_a_busy_machine_makes_no_batch_smaller_than_is_cheap():
    assert after_slow_batches(careful()) == MIN_OWN


@pytest.mark.parametrize(
    "options",
    [
        {"event_filter": lambda *_: True},
        {"sampling_strategy": lambda *_: True},
        {"enrichers": [lambda *_: None]},
        {"redact": lambda _event, numbers, words: (numbers, words)},
        {"custom_metrics": {"m": Streamed()}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_slow_code_of_users_makes_batches_small(options):
    assert after_slow_batches(careful(**options)) == MIN_PACED
