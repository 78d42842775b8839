"""The interpreter, first half: what needs no event loop, and so runs in threads and callbacks too."""

import threading
from contextlib import contextmanager

from isolation.oracle import At
from isolation.programs import NAMES

import crucible_telemetry as ct


class Boom(Exception):
    """What programs raise."""


class Acts:
    """Runs sync bodies. `at` says where they stand, and is all the oracle knows."""

    def __init__(self, oracle, tools):
        self.oracle, self.tools = oracle, tools
        self.subjects = oracle.subjects

    def run(self, body, at):
        for node in body:
            getattr(self, f"do_{node.kind}")(node, at)

    def name(self, node):
        return NAMES[node.how % len(NAMES)]

    def exp(self, node):
        return self.subjects[node.k].exp

    def do_emit(self, node, at):
        n, name = self.oracle.number(), self.name(node)
        metadata = {"pad": "x" * 600} if node.how == 7 else None
        with self.oracle.offering(at, n, name):
            ct.execute_nowait(name, {"n": n}, metadata)

    def do_current(self, node, at):
        expected = None if at.k is None else self.subjects[at.k].exp
        if ct.current_experiment() is not expected:
            self.oracle.problems.append(f"current_experiment is {ct.current_experiment()} at {at}")

    @contextmanager
    def spanning(self, at, make, name, *, fails):
        """A span entered and left here, each bracketed for the oracle."""
        n = self.oracle.number()
        span = make(name, {"n": n})
        with self.oracle.offering(at, n, f"{name}.start", "start"):
            span.__enter__()
        try:
            yield At(at.k, at.item, n)
        finally:
            error = Boom() if fails else None
            end = "exception" if fails else "stop"
            with self.oracle.offering(at, n, f"{name}.{end}", "end"):
                span.__exit__(type(error), error, None)

    def do_span(self, node, at):
        with self.spanning(at, ct.span, ("a.s", "b.s")[node.how % 2], fails=node.how < 3) as inside:
            self.run(node.bodies[0], inside)

    def do_home_span(self, node, at):
        with self.spanning(at.inside(node.k), self.exp(node).span, "a.h", fails=False) as inside:
            self.run(node.bodies[0], inside)

    def do_scope(self, node, at):
        with self.exp(node).scope():
            self.run(node.bodies[0], at.inside(node.k))

    def trial_at(self, node, at):
        item = f"i{self.oracle.number()}"
        span = at.span if at.k == node.k else None
        return item, At(node.k, item, span)

    def do_trial(self, node, at):
        item, inside = self.trial_at(node, at)
        with self.exp(node).trial(item=item):
            self.run(node.bodies[0], inside)

    def do_function(self, node, at):
        n = self.oracle.number()
        inside = At(at.k, at.item, n)

        @ct.instrument("a.f", {"n": n})
        def function():
            start.__exit__(None, None, None)
            self.run(node.bodies[0], inside)
            end.__enter__()

        start = self.oracle.offering(at, n, "a.f.start", "start")
        end = self.oracle.offering(at, n, "a.f.stop", "end")
        start.__enter__()
        function()
        end.__exit__(None, None, None)

    def do_bound_elsewhere(self, node, at):
        """Bound here, called twice inside another experiment, once in itself."""
        calls = []

        def call():
            calls.append(None)
            self.run(node.bodies[0], at)
            if len(calls) == 1:
                bound()

        bound = ct.bind(call)
        with self.exp(node).scope():
            bound()
            self.do_current(node, at.inside(node.k))

    # -- generators -----------------------------------------------------------------------------

    def do_generator(self, node, at):
        """A stream made here, consumed partly inside another experiment, closed in a third place."""
        first, second, between = node.bodies
        n = self.oracle.number()
        inside = At(at.k, at.item, n)

        @ct.instrument("a.g", {"n": n})
        def stream():
            self.run(first, inside)
            yield 1
            self.run(second, inside)
            yield 2

        steps = stream()
        elsewhere = at.inside(node.k)
        with self.exp(node).scope():
            with self.oracle.offering(at, n, "a.g.start", "start"):
                next(steps)
            self.run(between, elsewhere)
            if node.how % 3:
                next(steps)
                self.do_emit(node, elsewhere)
        with self.oracle.offering(at, n, "a.g.stop", "end", ordered=False):
            self.finish(steps, node.how)
            del steps
        self.do_emit(node, at)

    def finish(self, steps, how):
        if how % 4 == 0:
            list(steps)
        elif how % 4 == 1:
            steps.close()
        elif how % 4 == 2:
            thread = threading.Thread(target=steps.close)
            thread.start()
            thread.join()
        # else: the caller drops it
