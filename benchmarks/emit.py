"""Speed of emitting: `python benchmarks/emit.py [--quick]`. Ratios of one run; see RESULTS.md.

(a) nobody listens, against an empty function; (b) the caller's cost; (c) the whole way, emit to stored and
counted on the live board with quantiles, with peers beside it; by batch, by shapes, with a 1 kB prompt.
"""

import itertools
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from event import typical_event
from measure import Contender, Options, compare, table
from peers import encode_and_append, peers
from stage import Stage, empty

import crucible_telemetry as ct

LONG_PROMPT = "Why is the sky blue? " * 49  # 1,029 characters


def shapes(count: int):
    """The typical event in `count` spellings, in turn."""

    def event(i):
        name, measurements, metadata = typical_event(i)
        return name, measurements, {**metadata, f"k{i % count}": 1}

    return event


def with_prompt(i):
    name, measurements, metadata = typical_event(i)
    return name, measurements, {**metadata, "prompt": LONG_PROMPT}


def nobody(stage: Stage, options: Options) -> str:
    baseline = stage.nobody("empty function, 3 arguments", empty)
    return table(
        compare(
            baseline, [stage.nobody("execute_nowait, nobody listens", ct.execute_nowait)], options
        ),
        options,
    )


def ours(stage: Stage) -> list[Contender]:
    return [
        stage.caller("caller: execute_nowait", wait=False),
        stage.caller("caller: await execute", wait=True),
        stage.whole("whole way: execute_nowait", wait=False),
        stage.whole("whole way: await execute", wait=True),
        stage.whole("whole way: ct.span (two events)", wait=False, spans=True),
        stage.batches("whole way, drained every 256", 256),
        stage.batches("whole way, drained every 16", 16),
        stage.batches("whole way, drained every 1", 1),
        stage.whole("whole way, 10 shapes", wait=False, event=shapes(10)),
        stage.whole("whole way, 40 shapes", wait=False, event=shapes(40)),
        stage.whole("whole way, a 1 kB prompt redacted", wait=False, event=with_prompt),
    ]


def main() -> None:
    options = Options.from_flags(sys.argv[1:])
    with ExitStack() as stack:
        stage = Stage()
        stack.callback(stage.close)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print("### (a) Nobody listens\n")
        print(nobody(stage, options))
        print("\n### (b), (c) Against encoding the same event and appending it to a list\n")
        contenders = list(itertools.chain(ours(stage), peers(directory, stack)))
        print(table(compare(encode_and_append(), contenders, options), options))


if __name__ == "__main__":
    main()
