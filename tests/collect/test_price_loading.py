"""The price library is loaded on first need, beside the loop; nothing is stored unpriced for being early.

Each in an interpreter of its own: a process loads it once.
"""

import json
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("genai_prices", reason="the extra [prices] is not installed")

SCRIPT = """
import asyncio, json, sys, threading
import crucible_telemetry as ct

COUNT = 300

def emit():
    for i in range(COUNT):
        ct.execute_nowait(
            "llm.x.stop", {"input_tokens": 550, "output_tokens": 150},
            {"provider": "openai", "model": "gpt-4o"},
        )

async def beat(beats):
    while True:
        await asyncio.sleep(0.002)
        beats.append("genai_prices" in sys.modules)

async def main():
    beats, said, calls = [], {}, []
    def seen(*_):
        calls.append(1)
        return True
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("a", event_filter=seen, **OPTIONS)
        heart = asyncio.create_task(beat(beats))
        await asyncio.sleep(0.02)
        beats.clear()
        WAY
        heart.cancel()
        said["early"] = exp.counts.stored
    cost = exp.live().cost
    said.update(
        count=cost.count, total=cost.total, unpriced=cost.unpriced, stored=exp.counts.stored,
        calls=len(calls), beats=len(beats), loaded="genai_prices" in sys.modules,
        rest=(await exp.metrics()).cost.count,
    )
    print(json.dumps(said))

asyncio.run(main())
"""


def run(way, before="", options="{}"):
    """What the script says of an experiment into which `way` emitted."""
    indented = textwrap.indent(textwrap.dedent(way), " " * 8).strip()
    code = before + SCRIPT.replace("WAY", indented).replace("OPTIONS", options)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def whole(said, count=300):
    assert (said["stored"], said["count"], said["unpriced"], said["rest"]) == (
        count,
        count,
        0,
        count,
    )
    assert said["total"] == pytest.approx(0.002875 * count)
    assert said["calls"] == count  # a batch that is put off is not prepared again


@pytest.mark.parametrize(
    "way",
    [
        "emit()\nawait exp.flush()",
        "emit()\nawait exp.stop()",
        "emit()\nwhile exp.counts.in_flight: await asyncio.sleep(0.01)",
        "await asyncio.to_thread(ct.bind(emit))\nawait exp.metrics()",
    ],
)
def test_while_it_loads_the_loop_goes_on(way):
    said, _ = run(way)
    whole(said)
    assert said["beats"] >= 8  # it would stand still: one at most
    assert said["early"] == 300


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ("emit()\nassert exp.live().cost.count == 300", "{}"),
        ("emit()", "{}"),  # and the lab is closed
        ("emit()", "{'mailbox_size': 16}"),
        ("t = threading.Thread(target=emit)\nt.start()\nawait asyncio.to_thread(t.join)", "{'mailbox_size': 16}"),
        (("emit()\nstop = asyncio.create_task(exp.stop())\nawait asyncio.sleep(0)\nstop.cancel()\n"
         "await asyncio.wait([stop])\nassert stop.cancelled() and exp.state == 'stopped'"), "{}"),
    ],
)  # fmt: skip
def test_what_cannot_wait_loads_it_where_it_is(way, options):
    said, _ = run(way, options=options)
    whole(said)


def test_many_that_need_it_at_once_wait_for_one_load():
    way = """
        other = await lab.start_experiment("b")
        emit()
        threads = [threading.Thread(target=emit) for _ in range(4)]
        for t in threads: t.start()
        exp.live(); other.live()
        for t in threads: await asyncio.to_thread(t.join)
        await asyncio.gather(exp.flush(), other.flush())
        assert other.live().cost.count == 1500
    """
    said, _ = run(way, before="import logging; logging.disable()\n")
    whole(said, 1500)


def test_f18_a_caller_with_little_stack_left_loads_it_all_the_same():
    way = """
        from crucible_telemetry.collect.library import LIBRARY
        def deep(levels):
            deep(levels - 1) if levels else LIBRARY.load()
        deep(sys.getrecursionlimit() - len(__import__("inspect").stack()) - 40)
        assert LIBRARY.missing is None, LIBRARY.missing
        emit()
        await exp.flush()
    """
    whole(run(way)[0])


def test_nothing_loads_it_that_does_not_need_it():
    way = """
        ct.execute_nowait("llm.x.stop", {"duration": 1}, {"model": "gpt-4o"})
        ct.execute_nowait("llm.x.stop", {"input_tokens": 1, "output_tokens": 1, "cost": 1}, {"model": "m"})
        ct.execute_nowait("llm.x.stop", {"input_tokens": 1, "output_tokens": 1}, {"model": "own"})
        ct.execute_nowait("llm.x.stop", {"input_tokens": 1, "output_tokens": 1}, {})
        await exp.metrics()
    """
    own = "{'prices': {'own': {'input_usd_per_mtok': 1, 'output_usd_per_mtok': 1}}}"
    said, _ = run(way, options=own)
    assert (said["loaded"], said["count"]) == (False, 2)


def test_where_it_is_not_installed_calls_are_unpriced_and_one_line_says_so():
    absent = "import sys; sys.modules['genai_prices'] = None\n"
    said, errors = run("emit()\nawait exp.flush()", before=absent)
    assert (said["stored"], said["count"], said["unpriced"]) == (300, 0, 300)
    assert errors.count("pip install 'crucible-telemetry[prices]'") == 1
