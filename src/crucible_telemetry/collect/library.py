"""The price library: genai-prices' data behind our own matching and a bounded memory.

It is loaded when a price is first needed, in a thread of its own; importing it takes the better part of a
second. Its own look-up keeps every name it was ever asked for, and an unknown one costs up to 0.3 ms, so
names are matched here, by the same rules, over its data. Nothing is fetched: the data is the package's.
"""

import datetime as dt
import re
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from crucible_telemetry.errors import install
from crucible_telemetry.events.enrich import PICO
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.events.odd import told
from crucible_telemetry.events.prices import Rates, Tariff, exact
from crucible_telemetry.runtime.loops import Signal

KEPT: Final = 4096
"""Answers remembered, unknown names included."""
_EPOCH: Final = dt.date(1970, 1, 1)
_FIELDS: Final = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "output_reasoning_mtok": "reasoning",
}
_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
Tariffs = tuple[tuple[int, Tariff | None], ...]
"""The tariffs of one day: (from, tariff), `from` in µs since midnight UTC, ascending from 0."""


class Library:
    """One for the process. `ready`: loaded, or known not to be there."""

    def __init__(self) -> None:
        self.ready = False
        self.missing: str | None = None
        """Why there is no library, once it was looked for."""
        self._loaded = Signal()
        self._thread: threading.Thread | None = None
        self._told = False
        self._providers: dict[str, _Provider] = {}
        self._by_price: dict[int, Tariff | None] = {}
        self._provider = lru_cache(KEPT)(self._find_provider)
        self.model = lru_cache(KEPT)(self._find_model)
        """(provider, model) → the library's model, or None."""

    @classmethod
    def of(cls, providers: Iterable[Any]) -> "Library":
        """A library of other providers than the package's, loaded."""
        library = cls()
        library._providers, library.ready = _by_id(providers), True
        return library

    # -- loading --------------------------------------------------------------------------------

    def start(self) -> None:
        """Load in a thread of its own, unless it is loaded or being loaded."""
        if self.ready or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._load, name="crucible-prices")
        try:
            self._thread.start()
        except RuntimeError:  # at the interpreter's end no thread starts any more
            self._load()

    def load(self) -> None:
        """Wait on this thread until it is loaded, which has a stack of its own: a caller's may be deep."""
        self.start()
        if self._thread is not None and not self.ready:
            self._thread.join()

    def _load(self) -> None:
        try:
            snapshot = import_module("genai_prices.data_snapshot").get_snapshot()
            self._providers = _by_id(snapshot.providers)
        except Exception as error:  # noqa: BLE001 - a broken package prices as little as none
            self.missing = told(error)
        self.ready = True
        self._loaded.set()

    async def wait(self) -> None:
        """Wait, on any loop, until it is loaded."""
        self.start()
        while not self.ready:
            await self._loaded.wait()

    def tell(self) -> None:
        """Say once that prices were wanted and the library is not there."""
        if self.missing is not None and not self._told:
            self._told = True
            log.warning(
                "calls without a cost stay unpriced: no price library (%s); "
                "%s, or give Lab(prices=…)",
                self.missing,
                install("prices"),
            )

    @property
    def remembered(self) -> int:
        """How many names it remembers."""
        return self.model.cache_info().currsize + self._provider.cache_info().currsize

    # -- looking up -----------------------------------------------------------------------------

    def tariffs(self, provider: str | None, model: str, day: int) -> Tariffs | None:
        """What a model costs on a day (days since the epoch, UTC); None when it is not known.

        Without a provider the model's prefix names it (``azure/gpt-4o``), else its maker is meant, where
        exactly one provider's models are named like this.
        """
        found = self.model(provider, model)
        return None if found is None else self.of_model(found, day)

    def of_model(self, model: Any, day: int) -> Tariffs | None:
        """What one of the library's models costs on a day; None on a day no calendar has."""
        try:
            date = _EPOCH + dt.timedelta(days=day)
        except OverflowError:
            return None
        moments = [(at, dt.datetime.combine(date, at, dt.UTC)) for at in _times(model.prices)]
        return tuple((_micros(at), self._tariff(model, when)) for at, when in moments)

    def _tariff(self, model: Any, when: dt.datetime) -> Tariff | None:
        prices = model.get_prices(when)
        if id(prices) not in self._by_price:  # as many as the library has: its data lives as long
            self._by_price[id(prices)] = _tariff_of(model.id, vars(prices))
        return self._by_price[id(prices)]

    def _find_model(self, provider: str | None, model: str) -> Any:
        ref = model.lower()
        head, _, tail = ref.partition("/")
        prefix = self._provider(head) if tail else None
        if provider is None or provider.lower() == "litellm":
            if prefix is None:
                return self._by_maker(ref)
            return prefix.find(tail, self._providers) or prefix.find(ref, self._providers)
        given = self._provider(provider)
        if given is None:
            return None
        found = given.find(ref, self._providers)
        return found if found or prefix is None else given.find(tail, self._providers)

    def _find_provider(self, name: str) -> "_Provider | None":
        low = name.lower().strip()
        by_rule = (p for p in self._providers.values() if p.is_meant(low))
        return self._providers.get(low) or next(by_rule, None)

    def _by_maker(self, ref: str) -> Any:
        makers = (p for p in self._providers.values() if p.makes(ref))
        found = [model for p in makers if (model := p.find(ref, self._providers)) is not None]
        return found[0] if len(found) == 1 else None


class _Provider:
    """A provider's models, found by name: those named outright by a dictionary, the others by their rules."""

    __slots__ = ("_equal", "_fallbacks", "_models", "_rules", "is_meant", "makes")

    def __init__(self, provider: Any) -> None:
        self._models = provider.models
        self._equal: dict[str, int] = {}
        self._rules: list[tuple[int, Callable[[str], bool]]] = []
        self._fallbacks = tuple(provider.fallback_model_providers or ())
        self.is_meant = _rule(provider.provider_match)
        self.makes = _rule(provider.model_match)
        for at, model in enumerate(self._models):
            self._add(at, model.match)

    def _add(self, at: int, clause: Any) -> None:
        if hasattr(clause, "or_"):
            for each in clause.or_:
                self._add(at, each)
        elif hasattr(clause, "equals"):
            self._equal.setdefault(clause.equals.lower(), at)
        else:
            self._rules.append((at, _rule(clause)))

    def find(self, ref: str, providers: "dict[str, _Provider]") -> Any:
        """The first model that is named like this, here or at the providers whose models are sold here."""
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", ref)
        for name in dict.fromkeys((ref, dashed)):
            for provider in (self, *(providers[p] for p in self._fallbacks if p in providers)):
                found = provider.match(name)
                if found is not None:
                    return found
        return None

    def match(self, ref: str) -> Any:
        """The first of its own models that is named like this, or None."""
        outright = self._equal.get(ref, len(self._models))
        at = next((at for at, fits in self._rules if at >= outright or fits(ref)), outright)
        at = min(at, outright)
        return self._models[at] if at < len(self._models) else None


def _by_id(providers: Iterable[Any]) -> dict[str, _Provider]:
    return {provider.id: _Provider(provider) for provider in providers}


def _rule(clause: Any) -> Callable[[str], bool]:
    """A clause of the library over names in lower case, three times as fast as its own."""
    if clause is None:
        return lambda _: False
    if hasattr(clause, "equals"):
        return str(clause.equals).lower().__eq__
    if hasattr(clause, "contains"):
        return _part(clause.contains.lower())
    for attribute, ask in (("starts_with", str.startswith), ("ends_with", str.endswith)):
        if hasattr(clause, attribute):
            return _edge(ask, getattr(clause, attribute).lower())
    if hasattr(clause, "regex"):
        return _search(re.compile(clause.regex))
    fits: Callable[[str], bool] = clause.is_match
    return fits


def _part(part: str) -> Callable[[str], bool]:
    return lambda ref: part in ref


def _edge(ask: Callable[[str, str], bool], part: str) -> Callable[[str], bool]:
    return lambda ref: ask(ref, part)


def _search(pattern: "re.Pattern[str]") -> Callable[[str], bool]:
    return lambda ref: pattern.search(ref) is not None


def _times(prices: Any) -> list[dt.time]:
    """The times of day, UTC, at which the price of a model may change, midnight first."""
    times = {dt.time()}
    for each in prices if isinstance(prices, list) else ():
        for edge in ("start_time", "end_time"):
            if hasattr(each.constraint, edge):
                times.add(_utc(getattr(each.constraint, edge)))
    return sorted(times)


def _utc(time: dt.time) -> dt.time:
    moment = dt.datetime.combine(dt.date(2000, 1, 2), time, time.tzinfo or dt.UTC)
    return moment.astimezone(dt.UTC).time()


def _micros(time: dt.time) -> int:
    return ((time.hour * 60 + time.minute) * 60 + time.second) * 10**6 + time.microsecond


def _tariff_of(model_id: str, prices: dict[str, Any]) -> Tariff | None:
    """The tariff of a model of the library; None where it prices no tokens (audio by the hour, pages).

    A model that is listed without rates has no price here, unless its id says ``:free``.
    """
    given = {field: prices[key] for key, field in _FIELDS.items() if prices.get(key) is not None}
    if not any(price is not None for price in prices.values()) and ":free" in model_id:
        return Tariff(Rates(input=exact(0), output=exact(0)))
    if given.keys().isdisjoint({"input", "output"}):
        return None
    request = exact(prices.get("requests_kcount") or 0) * PICO / 1000
    starts = {tier.start for price in given.values() for tier in getattr(price, "tiers", ())}
    bands = {start: _rates(given, start + 1, request) for start in starts}
    return Tariff(_rates(given, 0, request), bands)


def _rates(given: dict[str, Any], tokens: int, request: Any) -> Rates:
    """The rates of a call of so many input tokens."""
    found = {}
    for field, price in given.items():
        at = getattr(price, "base", price)
        for tier in getattr(price, "tiers", ()):
            at = tier.price if tokens > tier.start else at
        found[field] = exact(at) * PICO / 10**6
    return Rates(**found, request=request)


LIBRARY: Final = Library()
