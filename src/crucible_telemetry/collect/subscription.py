"""Following an experiment: an async iterator over events as they are stored."""

import weakref
from collections import deque
from typing import Any, Final, Self

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import Event, event_patterns, matches_pattern
from crucible_telemetry.runtime.loops import Signal
from crucible_telemetry.stores.base import Query

PAGE: Final = 512


class Subscription:
    """An iterator, not a generator: nothing stays suspended when the loop around it is left.

    Begins with the next event stored after it was made; ends when the experiment ends.
    """

    def __init__(self, experiment: Any, collector: Collector, patterns: Any) -> None:
        self._experiment, self._collector = experiment, collector
        self._patterns = event_patterns("patterns", patterns)
        self._after_seq = collector.progress.stored
        self._ready: deque[Event] = deque()
        self._more = Signal()
        more = self._more

        def tell(_: Columns) -> None:
            more.set()

        collector.followers.follow(tell)
        # Most readers leave their loop and never close: what nobody reads any more is told nothing.
        self._forget = weakref.finalize(self, collector.followers.leave, tell)
        self._forget.atexit = False

    def close(self) -> None:
        """Follow no longer."""
        self._forget()
        self._patterns = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if not self._patterns:
                raise StopAsyncIteration
            self._experiment._check_kept("subscribe to")
            self._more.clear()
            living = self._experiment._life.living
            await self._fetch()
            if (
                not self._ready
                and not living
                and self._after_seq >= self._collector.progress.stored
            ):
                self.close()
                raise StopAsyncIteration
            if not self._ready and living and self._after_seq >= self._collector.progress.stored:
                await self._more.wait()
        return self._ready.popleft()

    async def _fetch(self) -> None:
        page = await self._collector.store.page(Query(after_seq=self._after_seq), None, PAGE)
        if page.events:
            self._after_seq = page.events[-1].seq
        self._ready.extend(
            event
            for event in page.events
            if any(matches_pattern(pattern, event.event_name) for pattern in self._patterns)
        )

    def wake(self) -> None:
        """Look again: the experiment may have ended."""
        self._more.set()
