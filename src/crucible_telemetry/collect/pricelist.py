"""Who says what a model costs on a day: the user's own prices first, then the price library; and estimates."""

import datetime as dt
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from crucible_telemetry.collect.library import LIBRARY, Tariffs
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.prices import PriceCall, Tariff, spellings, tariff_of

MAX_NAME: Final = 256
"""A longer name is no model's and is not looked up."""
_EPOCH: Final = dt.date(1970, 1, 1)
_SUFFIXES: Final[dict[str, Callable[[str], Any]]] = {
    ".json": lambda text: json.loads(text, parse_float=Decimal),
    ".toml": lambda text: tomllib.loads(text, parse_float=Decimal),
}
Own = Mapping[str, Tariff] | PriceCall | bool
"""A user's own prices, checked; True for none of their own, False to price nothing."""


class UnloadedLibrary(Exception):
    """A price is wanted of the library, and it is not loaded: a state, nobody outside sees it."""


def read_prices(prices: Any) -> Own:
    """Check what `prices=` was given: True for the library alone, False to price nothing, else the user's own.

    None, a bool, a mapping of `tariff_of`'s entries by ``"provider/model"`` or ``"model"``, the path of a
    ``.json`` or ``.toml`` file that holds one, or a callable ``(provider, model, day)`` that returns an
    entry or None. `ConfigurationError` names the file and the key.
    """
    if prices is None or isinstance(prices, bool):
        return prices is not False
    if isinstance(prices, Mapping):
        return _checked(prices, "prices")
    if isinstance(prices, str | os.PathLike):
        return _checked(_file(Path(prices)), os.fspath(prices))
    if callable(prices):
        found: PriceCall = prices
        return found
    raise ConfigurationError(
        "prices", f"want a mapping, the path of a file, a callable, None or False, not {prices!r}"
    )


def _file(path: Path) -> Any:
    read = _SUFFIXES.get(path.suffix.lower())
    if read is None:
        raise ConfigurationError("prices", f"{path}: want a .json or .toml file")
    try:
        return read(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError("prices", f"{path}: {error}") from None


def _checked(entries: Any, source: str) -> dict[str, Tariff]:
    if not isinstance(entries, Mapping):
        raise ConfigurationError("prices", f"{source}: want a table of models")
    tariffs: dict[str, Tariff] = {}
    for key, entry in entries.items():
        try:
            tariff = tariff_of(entry)
        except ConfigurationError as error:
            raise ConfigurationError("prices", f"{source}: {key!r}: {error.reason}") from None
        if not isinstance(key, str) or not key:
            raise ConfigurationError("prices", f"{source}: {key!r}: want the name of a model")
        if tariff is not None:
            tariffs[key] = tariff
    return tariffs


class PriceBook:
    """The tariffs of a model on a day: the user's own, else the library's."""

    def __init__(self, own: Own) -> None:
        self._own = own

    def tariffs(self, provider: str | None, model: str, day: int) -> Tariffs | None:
        """None when nobody knows a price. `UnloadedLibrary`; and whatever a user's callable raises."""
        if len(model) > MAX_NAME or len(provider or "") > MAX_NAME:
            return None
        own = self._of_user(provider, model, day)
        if own is not None:
            return ((0, own),)
        if not LIBRARY.ready:
            raise UnloadedLibrary
        LIBRARY.tell()
        return LIBRARY.tariffs(provider, model, day)

    def _of_user(self, provider: str | None, model: str, day: int) -> Tariff | None:
        own = self._own
        if isinstance(own, bool):
            return None
        if isinstance(own, Mapping):
            return next((own[key] for key in spellings(provider, model) if key in own), None)
        try:
            date = _EPOCH + dt.timedelta(days=day)
        except OverflowError:
            return None
        entry = own(provider, model, date)
        return None if entry is None else tariff_of(entry)


def estimate(
    own: Own, provider: str | None, model: str, counts: tuple[int, ...], at: object
) -> float | None:
    """Dollars of one call of so many `COUNTED`, or None; loads the library when it is needed."""
    _check_counts(counts)
    if own is False:
        return None
    book, (day, us) = PriceBook(own), _moment(at)
    try:
        tariffs = book.tariffs(provider, model, day)
    except UnloadedLibrary:
        LIBRARY.load()
        tariffs = book.tariffs(provider, model, day)
    fitting = [tariff for start, tariff in tariffs or () if start <= us]
    pico = fitting[-1].cost(*counts) if fitting and fitting[-1] is not None else None
    return None if pico is None else pico / 10**12


def _moment(at: object) -> tuple[int, int]:
    """(days since the epoch, µs of the day), UTC; a date without a time is its midnight."""
    if at is None:
        at = dt.datetime.now(dt.UTC)
    if isinstance(at, dt.datetime):
        utc = at.replace(tzinfo=at.tzinfo or dt.UTC).astimezone(dt.UTC)
        since = utc - dt.datetime.combine(utc.date(), dt.time(), dt.UTC)
        return (utc.date() - _EPOCH).days, since // dt.timedelta(microseconds=1)
    if isinstance(at, dt.date):
        return (at - _EPOCH).days, 0
    raise ConfigurationError("day", f"want a date, a datetime or None, not {at!r}")


def estimate_cost(  # noqa: PLR0913 - keyword options, all but three with a default
    *,
    provider: str | None = None,
    model: str,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int = 0,
    reasoning_tokens: int = 0,
    day: dt.date | None = None,
    prices: Any = None,
) -> float | None:
    """What a call would cost in USD, or None where nobody knows its price.

    `cached_tokens` are part of the input, `reasoning_tokens` of the output. `day`: a date or datetime
    (UTC where it says nothing else; default now). `prices`: as in `Lab`. Sync; the first call that needs
    the price library loads it, which takes the better part of a second.
    """
    counts = (input_tokens, output_tokens, cached_tokens, 0, reasoning_tokens)
    return estimate(read_prices(prices), provider, model, counts, day)


def _check_counts(counts: tuple[int, ...]) -> None:
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**31:
            raise ConfigurationError("tokens", f"want whole numbers from 0, not {count!r}")
