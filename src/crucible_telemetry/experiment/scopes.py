"""Scopes that are an experiment's own: opened anywhere, also by workers older than it."""

from typing import Any, Self

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.events.routes import Name
from crucible_telemetry.events.scope import Scope, current_scope, enter, leave
from crucible_telemetry.events.span import Span, span_of


class ExperimentScope:
    """See `Experiment.scope`. Leaving never raises, in whatever task; several may be inside at once."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._scopes: list[Scope] = []

    def __enter__(self) -> Self:
        box, outer = self._collector.box, current_scope.get()
        if outer is None or outer.box is not box:
            scope = Scope(box, 0, None, None, outer)
        else:  # innermost already: its trial and its span are still those of what happens inside
            scope = Scope(box, outer.trial, outer.link, span_of(outer), outer)
        self._scopes.append(scope)
        enter(scope)
        return self

    def __exit__(self, *_: object) -> None:
        if not leave(self._entered_here()):
            self._collector.box.scope_leaks += 1

    def _entered_here(self) -> Scope:
        """The last one entered in this task or thread; others may have entered since, elsewhere."""
        here = current_scope.get()
        while here is not None:
            if here in self._scopes:
                self._scopes.remove(here)
                return here
            here = here.outer
        return self._scopes.pop()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


class ExperimentSpan(Span):
    """A span whose scope is a given experiment's."""

    __slots__ = ("_home",)

    def __init__(self, collector: Collector, event: Name, metadata: dict[str, Any] | None) -> None:
        super().__init__(event, metadata)
        self._home = collector

    def start(self, outer: Scope | None) -> None:
        """Begin in the experiment's scope unless that is the innermost already."""
        if outer is not None and outer.box is self._home.box:
            super().start(outer)
            return
        super().start(Scope(self._home.box, 0, None, None, outer))
        # Leaving leads back to where it was opened, not into the scope made for it.
        self.outer = outer
