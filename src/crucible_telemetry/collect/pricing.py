"""The cost column of a batch, where nobody said what a call cost: tokens × price, a model and a day at a time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from crucible_telemetry.collect.library import KEPT, LIBRARY, Tariffs
from crucible_telemetry.collect.pricelist import Own, PriceBook, UnloadedLibrary
from crucible_telemetry.collect.progress import Prepared
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.wanted import Guard
from crucible_telemetry.collect.words import LIMIT
from crucible_telemetry.events.columns import ENDS, MISSING, NO_TOKENS, Columns, Ints
from crucible_telemetry.events.prices import COUNTED, Tariff

_DAY_US: Final = 86_400_000_000
_DAY_BITS: Final = 28
_DAY_ZERO: Final = 1 << (_DAY_BITS - 1)
"""Days since the epoch that int64 µs can say are fewer than this, before and after it."""
Rows = NDArray[np.intp]
Name = tuple[str | None, str | None]


class Pricer:
    """Fills the cost column of one experiment's batches. Used under the drain's lock only."""

    def __init__(self, book: PriceBook, reader: ExperimentReader, guard: Guard) -> None:
        self._reader, self._guard = reader, guard
        self._tariffs = lru_cache(KEPT)(book.tariffs)

    @classmethod
    def of(cls, own: Own, reader: ExperimentReader, guard: Guard) -> "Pricer | None":
        """The pricer for what `read_prices` found; None where nothing is to be priced."""
        return None if own is False else cls(PriceBook(own), reader, guard)

    def priced(self, prepared: Prepared) -> Prepared | None:
        """The batch with what its calls cost; None while the library it needs is being loaded.

        Nothing of what was prepared is done again, and nothing is stored unpriced because the library
        was not there yet: whoever drains comes back, and the mailbox holds back the emitters meanwhile.
        """
        columns = prepared.columns
        rows = None if columns is None else _owed(columns)
        if columns is None or rows is None:
            return replace(prepared, priced=True)
        marks = prepared.marks.copy()
        try:
            costs = self._costs(columns, rows, prepared.beyond, marks)
        except UnloadedLibrary:
            LIBRARY.start()
            return None
        if (costs != MISSING).any():
            given = columns.cost_pico
            column = np.full(len(columns), MISSING, np.int64) if given is None else given.copy()
            column[rows] = costs
            columns.cost_pico = column
        return replace(prepared, priced=True, marks=marks)

    def _costs(
        self, columns: Columns, rows: Rows, beyond: Mapping[int, Name], marks: "Counter[str]"
    ) -> Ints:
        """Pico-dollars of these rows, `MISSING` where nobody knows.

        Asked once a model and day, reckoned once a tariff: most days have that of the day before.
        """
        times, counts = columns.timestamp_us[rows], _counts(columns, rows)
        models = columns.model[rows].astype(np.int64)
        strangers = _numbered(models, rows, beyond)
        costs = np.full(len(rows), MISSING, np.int64)
        keys, of_row, sizes = _distinct((models << _DAY_BITS) + times // _DAY_US + _DAY_ZERO)
        tariffs: list[Tariffs] = []
        numbers: dict[tuple[int, ...], int] = {}
        of_key = np.full(len(keys), -1)
        for at, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            number, day = divmod(key, 1 << _DAY_BITS)
            name = strangers.get(number) or self._reader.model(number)
            found = self._ask(name, day - _DAY_ZERO, size, marks)
            if found is not None:
                same = tuple(id(tariff) for _, tariff in found)
                of_key[at] = numbers.setdefault(same, len(numbers))
                tariffs += [found] if len(tariffs) < len(numbers) else []
        for number, tariff in enumerate(tariffs):
            here: Any = slice(None)
            if len(keys) > 1:
                here = np.flatnonzero(of_key[of_row] == number)
            part = [None if count is None else count[here] for count in counts]
            costs[here] = _of_day(tariff, part, times[here], marks)
        return costs

    def _ask(self, name: Name, day: int, rows: int, marks: "Counter[str]") -> Tariffs | None:
        provider, model = name
        if model is None:
            return None
        try:
            return self._tariffs(provider, model, day)
        except UnloadedLibrary:
            raise
        except BaseException as error:  # noqa: BLE001 - a user's callable; its events are kept
            self._guard.failed("price_lookup", error, marks, rows)
            return None


def _owed(columns: Columns) -> Rows | None:
    """Rows that end an operation, name a model and tokens, and no cost; None when there is none."""
    tokens: Any = False
    for counts in (columns.prompt, columns.completion):
        if counts is not None:
            tokens = tokens | (counts >= 0)
    if tokens is False:
        return None
    owed = tokens & (columns.model > 0) & ((columns.flags & ENDS) > 0)
    if columns.cost_pico is not None:
        owed &= columns.cost_pico == MISSING
    rows = np.flatnonzero(owed)
    return rows if len(rows) else None


def _counts(columns: Columns, rows: Rows) -> list[Ints | None]:
    """The five counts of these rows, None where no row has one; input or output that was not said is what
    the total leaves for it.
    """  # noqa: D205 - the summary is one sentence
    found: list[Ints | None] = []
    for name in COUNTED:
        column = getattr(columns, name)
        found.append(None if column is None else column[rows].astype(np.int64))
    if columns.total is not None and any(c is None or c.min() < 0 for c in found[:2]):
        said = [np.full(len(rows), NO_TOKENS) if c is None else c for c in found[:2]]
        found[:2] = _completed(said, columns.total[rows].astype(np.int64))
    return found


def _completed(said: Sequence[Ints], total: Ints) -> list[Ints]:
    """(input, output), one of them taken from the total where only the other was said."""
    return [
        np.where((own == NO_TOKENS) & (other >= 0) & (total > other), total - other, own)
        for own, other in (said, reversed(said))
    ]


def _numbered(models: Ints, rows: Rows, beyond: Mapping[int, Name]) -> dict[int, Name]:
    """Numbers of their own, in place, for the models that the vocabulary has no number for."""
    if not beyond:
        return {}
    numbers: dict[Name, int] = {}
    for at in np.flatnonzero(models == LIMIT).tolist():
        name = beyond[int(rows[at])]
        models[at] = numbers.setdefault(name, LIMIT + 1 + len(numbers))
    return {number: name for name, number in numbers.items()}


def _distinct(keys: Ints) -> tuple[list[int], Any, list[int]]:
    """(distinct keys, the place among them of each row's, how many rows each has)."""
    if keys[0] == keys[-1] and keys.min() == keys.max():
        return [int(keys[0])], None, [len(keys)]
    distinct, of_row, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    return distinct.tolist(), of_row, sizes.tolist()


def _of_day(
    tariffs: Tariffs, counts: Sequence[Ints | None], times: Ints, marks: "Counter[str]"
) -> Ints:
    """Costs of rows of one model and one day, by the hour where the price depends on it."""
    if len(tariffs) == 1:
        return _by(tariffs[0][1], counts, len(times), marks)
    costs = np.full(len(times), MISSING, np.int64)
    starts = np.array([start for start, _ in tariffs])
    slot = np.searchsorted(starts, times % _DAY_US, "right") - 1
    for number in np.unique(slot).tolist():
        at = slot == number
        part = [None if count is None else count[at] for count in counts]
        costs[at] = _by(tariffs[number][1], part, int(at.sum()), marks)
    return costs


def _by(
    tariff: Tariff | None, counts: Sequence[Ints | None], rows: int, marks: "Counter[str]"
) -> Ints:
    if tariff is None:
        return np.full(rows, MISSING, np.int64)
    costs, odd = tariff.costs(counts)
    if odd:
        marks["token_counts"] += odd
    return costs
