"""A whole lab, driven by any schedule, against a model of a few lines (F19).

1,000 schedules in the ordinary run; ``--deep N`` runs N.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from unittest.mock import patch

import pytest
from conftest import VirtualTimeLoop
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lab_model import GATES, LIVING, Modelled

import crucible_telemetry as ct
from crucible_telemetry.collect.spec import TRANSITIONS, State
from crucible_telemetry.metrics.board import Board

SCHEDULES = 1000
STEPS = 30
WHICH = st.integers(0, 3)
HOW = st.sampled_from(["sync", "async", "thread", "bound thread"])


class LabMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.known: list[Modelled] = []
        self.spans = []
        self.unheard = Counter()
        self.number = 0
        self.board_fails = False
        self.patched = patch.object(Board, "plus", self.flaky_plus(Board.plus))
        self.patched.start()

    def flaky_plus(self, plus):
        def flaky(board, *args):
            if self.board_fails:
                self.board_fails = False
                raise ArithmeticError("a board broke, for once")
            return plus(board, *args)

        return flaky

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def pick(self, which):
        return self.known[which % len(self.known)]

    def next_number(self):
        self.number += 1
        return self.number

    def route(self, event, target):
        """An event goes to the scope's experiment and to all that hear the process."""
        takers = {id(m): m for m in (target, *self.known) if m is target or m.listens}
        heard = [m.offer(event) for m in takers.values() if m is not None]
        if not any(heard) and any(m.state in LIVING for m in self.known):
            self.unheard[event[0]] += 1

    @initialize()
    def open_the_lab(self):
        self.lab = self.run(ct.Lab().open())

    @precondition(lambda self: len(self.known) < 4)
    @rule(capture=st.sampled_from(["scope", "process"]), size=st.sampled_from([1, 4, 8192]))
    def start(self, capture, size):
        exp = self.run(self.lab.start_experiment("e", capture=capture, mailbox_size=size))
        self.known.append(Modelled(exp, capture))

    @precondition(lambda self: self.known)
    @rule(which=WHICH, how=HOW, count=st.integers(1, 6), inside=st.booleans())
    def emit(self, which, how, count, inside):
        target = self.pick(which) if inside else None
        numbers = [self.next_number() for _ in range(count)]
        self.run(self._emit(target, how, numbers))
        for i in numbers:
            self.route(("n", i), target)

    async def _emit(self, target, how, numbers):  # noqa: C901 - a table of ways
        def now():
            for i in numbers:
                ct.execute_nowait("n", {"x": 1.5}, {"i": i})

        def in_scope(fn):
            if target is None:
                return fn()
            with target.exp.scope():
                return fn()

        if how == "sync":
            in_scope(now)
        elif how == "thread":
            await asyncio.to_thread(in_scope, now)
        elif how == "bound thread":
            await asyncio.get_running_loop().run_in_executor(None, in_scope(lambda: ct.bind(now)))
        elif target is None:
            for i in numbers:
                await ct.execute("n", {"x": 1.5}, {"i": i})
        else:
            async with target.exp.scope():
                for i in numbers:
                    await ct.execute("n", {"x": 1.5}, {"i": i})

    @precondition(lambda self: self.known)
    @rule(which=WHICH, count=st.integers(1, 12), ticks=st.integers(0, 6))
    def cancel_an_emitting_task(self, which, count, ticks):
        target, accepted = self.pick(which), []

        async def emits():
            async with target.exp.scope():
                for _ in range(count):
                    accepted.append(self.next_number())
                    await ct.execute("n", None, {"i": accepted[-1]})

        async def cancelled():
            task = asyncio.ensure_future(emits())
            for _ in range(ticks):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        self.run(cancelled())
        for i in accepted:
            self.route(("n", i), target)

    @precondition(lambda self: self.known and len(self.spans) < 4)
    @rule(which=WHICH, by=st.sampled_from(["exp.span", "scope"]))
    def open_a_span(self, which, by):
        target, i = self.pick(which), self.next_number()

        async def opened():
            if by == "exp.span":
                return target.exp.span("s", {"i": i}).__enter__()
            with target.exp.scope():
                span = ct.span("s", {"i": i})
                span.__enter__()
            return span

        span = self.run(opened())
        target.leaks += by == "scope"  # the scope was left with the span open
        takers = [m for m in self.known if m is target or m.listens]
        self.route(("s.start", i), target)
        heard = [m for m in takers if m.state is State.RUNNING]
        deaf = {id(m): GATES[m.state] for m in takers if m.state is not State.RUNNING}
        self.spans.append((span, i, target, heard, deaf))

    @precondition(lambda self: self.spans)
    @rule(which=WHICH, fails=st.booleans())
    def close_a_span_in_another_task(self, which, fails):
        span, i, target, heard, deaf = self.spans.pop(which % len(self.spans))

        async def closed():
            error = ValueError("x") if fails else None
            await span.__aexit__(type(error), error, None)

        self.run(closed())
        target.leaks += 1  # its scope is not open in this task
        event = ("s.exception" if fails else "s.stop", i)
        counted = False
        for m in self.known:
            if m is not target and not m.listens:
                continue
            if id(m) in deaf:
                m.refused[deaf[id(m)]] += 1
                counted |= m.state in LIVING
            else:
                counted |= m.offer(event, began=m in heard)
        if not counted and any(m.state in LIVING for m in self.known):
            self.unheard[event[0]] += 1

    @precondition(lambda self: self.known)
    @rule(
        which=WHICH, command=st.sampled_from(["pause", "resume", "pause", "resume", "stop", "fail"])
    )
    def command(self, which, command):
        target = self.pick(which)
        after = TRANSITIONS[target.state].get(command)
        if command == "fail":
            target.exp._fail(RuntimeError("given up"))
            after = State.FAILED if target.state in LIVING else target.state
            if target.state in LIVING:
                self.settle_failed(target)
        elif after is None:
            with pytest.raises(
                ct.LifecycleError, match=f"cannot {command} .* it is {target.state}"
            ):
                self.run(getattr(target.exp, command)())
            after = target.state
        else:
            self.run(getattr(target.exp, command)())
        target.pauses += after is State.PAUSED is not target.state
        target.state = after

    def settle_failed(self, target):
        """What still waited is refused, not lost: the rest of the model is what was stored."""
        stored = {(e.event_name, e.metadata["i"]) for e in self.run(target.exp.events())}
        given_up = Counter({e: n for e, n in target.stored.items() if e not in stored})
        target.refused["refused"] += given_up.total()
        target.stored -= given_up

    @precondition(lambda self: any(m.state is State.RUNNING for m in self.known))
    @rule(
        which=WHICH,
        fault=st.sampled_from(["before", "after", "board"]),
        by=st.sampled_from(["actor", "flush", "live", "stop"]),
        count=st.integers(1, 3),
    )
    def crash_the_collector(self, which, fault, by, count):
        running = [m for m in self.known if m.state is State.RUNNING]
        target = running[which % len(running)]
        self.run(asyncio.sleep(6))  # an earlier crash is no part of this one's budget
        self.board_fails = fault == "board"
        target.store.fails = None if fault == "board" else fault
        numbers = [self.next_number() for _ in range(count)]

        async def crash():
            with target.exp.scope():
                for i in numbers:
                    ct.execute_nowait("n", {"x": 1.5}, {"i": i})
            if by == "flush":
                assert (await target.exp.flush()).complete
            elif by == "live":
                target.exp.live()
            await asyncio.sleep(1)

        self.run(crash())
        for i in numbers:
            self.route(("n", i), target)
        assert target.store.fails is None
        assert not self.board_fails

    @precondition(lambda self: any(m.state in LIVING for m in self.known))
    @rule(which=WHICH)
    def flush(self, which):
        living = [m for m in self.known if m.state in LIVING]
        target = living[which % len(living)]
        assert self.run(target.exp.flush()).complete
        assert target.exp.counts.in_flight == 0
        self.check_events(target)

    @precondition(lambda self: self.known)
    @rule(which=WHICH)
    def look(self, which):
        target = self.pick(which)

        async def looked():
            return target.exp.live()

        live = self.run(looked())
        assert (live.since_seq, live.upto_seq) == (target.reset_at, target.stored.total())
        assert live.summary.total_events == target.stored.total() - target.reset_at

    @precondition(lambda self: self.known)
    @rule(which=WHICH)
    def reset_live(self, which):
        target = self.pick(which)

        async def reset():
            target.exp.reset_live()

        self.run(reset())
        target.reset_at = target.stored.total()

    @rule(seconds=st.sampled_from([0, 0.001, 0.05, 10]))
    def let_time_pass(self, seconds):
        self.run(asyncio.sleep(seconds))

    @invariant()
    def every_event_is_accounted_for(self):
        for m in self.known:
            counts = m.exp.counts
            assert counts.emitted == counts.accounted
            assert counts.stored + counts.in_flight == m.stored.total()
            seen = {k: getattr(counts, k) for k in ("skipped", "late", "refused")}
            assert Counter(seen) == m.refused
            assert (counts.filtered, counts.dropped, counts.quarantined) == (0, 0, 0)

    @invariant()
    def states_are_those_of_the_table(self):
        for m in self.known:
            assert m.exp.state is m.state
            assert m.exp.pause_count == m.pauses
            assert m.exp.health().scope_leaks == m.leaks
        if self.known:
            assert Counter(self.lab.unheard) == self.unheard

    @invariant()
    def spans_that_have_not_ended_are_shown_where_their_start_was_heard(self):
        for m in self.known:
            expected = [i for _, i, _, heard, _ in self.spans if m in heard]
            assert [s.metadata["i"] for s in m.exp.open_spans()] == expected

    def check_events(self, m):
        events = self.run(m.exp.events())
        assert Counter((e.event_name, e.metadata["i"]) for e in events) == m.stored
        assert sorted(e.seq for e in events) == list(range(1, len(events) + 1))
        in_order = [e.metadata["i"] for e in sorted(events, key=lambda e: e.seq)]
        assert [i for i in in_order if ("n", i) in m.stored] == sorted(
            i for name, i in m.stored if name == "n"
        )
        names = Counter()
        for (name, _), n in m.stored.items():
            names[name] += n
        summary = self.run(m.exp.metrics())
        assert summary.events.counts == names
        assert summary.upto_seq == m.stored.total()

    def teardown(self):
        try:
            assert self.run(self.lab.close()) == {}
            for m in self.known:
                if m.state in LIVING:
                    m.state = State.STOPPED
                self.check_events(m)
                assert m.exp.counts.in_flight == 0
            self.every_event_is_accounted_for()
            self.states_are_those_of_the_table()
            assert asyncio.all_tasks(self.loop) == set()
        finally:
            self.patched.stop()
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()


def test_f19_whatever_the_schedule_a_lab_does_what_its_model_says(request):
    count = request.config.getoption("--deep") or SCHEDULES
    run_state_machine_as_test(
        LabMachine,
        settings=settings(
            max_examples=count,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
