"""What tokens cost: rates as exact numbers, and the cost of columns of token counts in pico-dollars. PURE.

A `Tariff` is what one model costs at one moment. Cached and newly cached tokens are part of the input,
reasoning tokens part of the output: each token is paid once, at the most specific rate there is. Beyond a
threshold of input tokens the rates of the band above hold for the whole call, as providers bill it.
A sum is exact until it is rounded once, half to even, to a whole pico-dollar (10⁻¹² USD).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from math import isfinite, lcm
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.columns import MISSING, NO_TOKENS, Ints
from crucible_telemetry.events.enrich import PICO

COUNTED: Final = ("prompt", "completion", "cached", "cache_write", "reasoning")
"""The counts a cost is made of, in the order `Tariff` takes them; `NO_TOKENS` where a count is unknown."""
_LIMIT: Final = 2**62
"""Below it, sums of int64 are exact; what a sum may reach is known from the largest counts."""


class Rates(Struct, frozen=True, kw_only=True):
    """Pico-dollars per token, and per request; None where a kind of tokens has no rate of its own.

    Without a rate of their own, cached and newly cached tokens cost what `input` costs, reasoning tokens
    what `output` costs. Input or output tokens without a rate have no price: they are not free.
    """

    input: Fraction | None = None
    output: Fraction | None = None
    cached: Fraction | None = None
    cache_write: Fraction | None = None
    reasoning: Fraction | None = None
    request: Fraction = Fraction(0)

    def weights(self) -> list[Fraction]:
        """What one more of each of `COUNTED` adds to a cost; a cached token is an input token too."""
        paid, made = self.input or Fraction(0), self.output or Fraction(0)
        parts = ((self.cached, paid), (self.cache_write, paid), (self.reasoning, made))
        return [paid, made, *(Fraction(0) if own is None else own - of for own, of in parts)]


class _Band:
    """The rates from one threshold to the next, over one common denominator."""

    __slots__ = ("denominator", "request", "weights")

    def __init__(self, rates: Rates) -> None:
        weights = rates.weights()
        self.denominator = lcm(rates.request.denominator, *(w.denominator for w in weights))
        self.weights = [int(weight * self.denominator) for weight in weights]
        self.request = int(rates.request * self.denominator)

    def cost(self, counts: Iterable[int]) -> int:
        """Pico-dollars of one call."""
        pairs = zip(self.weights, counts, strict=True)
        whole, rest = divmod(sum(w * n for w, n in pairs) + self.request, self.denominator)
        return int(whole + _rounds_up(whole, 2 * rest, self.denominator))

    def costs(self, counts: Sequence[Ints | None], rows: int) -> Ints:
        """Pico-dollars of each row; `MISSING` where it leaves int64."""
        pairs = [(w, n) for w, n in zip(self.weights, counts, strict=True) if w and n is not None]
        peak = self.request + sum(abs(w) * max(int(n.max()), 1) for w, n in pairs)
        if 2 * max(peak, self.denominator) >= _LIMIT:
            exact = map(self.cost, zip(*(_listed(n, rows) for n in counts), strict=True))
            return np.array([n if n < _LIMIT else MISSING for n in exact], np.int64)
        total = np.full(rows, self.request, np.int64)
        for weight, count in pairs:
            total += weight * count
        if self.denominator == 1:
            return total
        whole, rest = np.divmod(total, self.denominator)
        rounded: Ints = whole + _rounds_up(whole, 2 * rest, self.denominator)
        return rounded


def _listed(count: Ints | None, rows: int) -> list[int]:
    return [0] * rows if count is None else count.tolist()


def _rounds_up(whole: Any, twice: Any, denominator: int) -> Any:
    """Whether half to even goes up: numbers or arrays."""
    return (twice > denominator) | ((twice == denominator) & (whole % 2 == 1))


class Tariff:
    """What a model's calls cost: `rates`, and for calls of more than so many input tokens those of `above`."""

    __slots__ = ("_bands", "_rates", "_starts")

    def __init__(self, rates: Rates, above: Mapping[int, Rates] | None = None) -> None:
        bands = dict(sorted((above or {}).items()))
        self._starts = np.array(list(bands), np.int64)
        self._rates = (rates, *bands.values())
        self._bands = [_Band(each) for each in self._rates]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tariff):
            return NotImplemented
        return self._rates == other._rates and self._starts.tolist() == other._starts.tolist()

    def __hash__(self) -> int:
        return hash(self._rates)

    def __repr__(self) -> str:
        return f"Tariff({self._rates[0]}, above={dict(zip(self._starts.tolist(), self._rates[1:], strict=True))})"

    def costs(self, counts: Sequence[Ints | None]) -> tuple[Ints, int]:
        """(pico-dollars, how many contradict themselves) of rows of the five `COUNTED`, each int64 or None.

        `MISSING`: a count that has a rate is not known, or tokens are there that have none, or the counts
        contradict each other (more cached tokens than input), or the cost leaves int64.
        """
        rows = next(len(count) for count in counts if count is not None)
        known = [None if count is None else np.maximum(count, 0) for count in counts]
        costs = self._by_band(known, rows)
        for rate, count in ((self._rates[0].input, counts[0]), (self._rates[0].output, counts[1])):
            if count is None:
                costs[:] = MISSING if rate is not None else costs
            else:
                costs[count == NO_TOKENS if rate is not None else count > 0] = MISSING
        odd = _contradictions(known)
        if odd is None:
            return costs, 0
        costs[odd] = MISSING
        return costs, int(np.count_nonzero(odd))

    def _by_band(self, known: Sequence[Ints | None], rows: int) -> Ints:
        prompt = known[0]
        if len(self._bands) == 1 or prompt is None:
            return self._bands[0].costs(known, rows)
        costs = np.empty(rows, np.int64)
        band = np.searchsorted(self._starts, prompt, "left")
        for number in np.unique(band).tolist():
            at = np.flatnonzero(band == number)
            part = [None if count is None else count[at] for count in known]
            costs[at] = self._bands[number].costs(part, len(at))
        return costs

    def cost(self, *counts: int) -> int | None:
        """Pico-dollars of one call of so many `COUNTED`; None as in `costs`."""
        found = int(self.costs([np.array([count], np.int64) for count in counts])[0][0])
        return None if found == MISSING else found


def _contradictions(known: Sequence[Ints | None]) -> NDArray[np.bool_] | None:
    """Rows with more cached and newly cached tokens than input, or more reasoning tokens than output."""
    prompt, completion, *parts = known
    odd: Any = None
    for whole, of_it in ((prompt, parts[:2]), (completion, parts[2:])):
        there = [count for count in of_it if count is not None]
        if there:
            over = sum(there) > (0 if whole is None else whole)
            odd = over if odd is None else odd | over
    found: NDArray[np.bool_] | None = odd
    return found


# -- as users write them ------------------------------------------------------------------------

_PER_MTOK: Final = {
    "input_usd_per_mtok": "input",
    "output_usd_per_mtok": "output",
    "cached_input_usd_per_mtok": "cached",
    "cache_write_usd_per_mtok": "cache_write",
    "reasoning_usd_per_mtok": "reasoning",
}
_PER_TOKEN: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
}
_MTOK: Final = 10**6
_OWN: Final = frozenset({*_PER_MTOK, "usd_per_request", "above"})


def tariff_of(entry: object) -> Tariff | None:
    """The tariff of one entry of a price list; None for a LiteLLM entry that prices no tokens.

    Either ``{"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}``, also with
    ``cached_input_usd_per_mtok``, ``cache_write_usd_per_mtok``, ``reasoning_usd_per_mtok``,
    ``usd_per_request``, and ``"above": [{"input_tokens": 200_000, …}]`` with the rates of calls of more
    input tokens than that (those it leaves out stay as they are); or an entry of LiteLLM's map
    (``input_cost_per_token`` …, ``…_above_200k_tokens``), of which other keys are passed over.
    `ConfigurationError` says what is wrong.
    """
    if not isinstance(entry, Mapping):
        raise _wrong(f"want a table of rates, not {entry!r}")
    if not _OWN.isdisjoint(entry):
        return _own(entry)
    if any(isinstance(key, str) and ("_cost" in key or key == "litellm_provider") for key in entry):
        return _litellm(entry)
    raise _wrong(f"names no rate; known are {', '.join(sorted(_OWN))}")


def _own(entry: Mapping[str, Any]) -> Tariff:
    rates = _own_rates(entry, {"above"})
    above = entry.get("above", ())
    if not isinstance(above, Sequence) or not all(isinstance(band, Mapping) for band in above):
        raise _wrong(f"above: want a list of tables, not {above!r}")
    bands: dict[int, dict[str, Fraction]] = {}
    for band in above:
        start = band.get("input_tokens")
        if type(start) is not int or not 0 < start < _LIMIT:
            raise _wrong(f"above: input_tokens: want a whole number ≥ 1, not {start!r}")
        bands[start] = _own_rates(band, {"input_tokens"})
    return _banded(rates, bands)


def _own_rates(entry: Mapping[str, Any], beside: set[str]) -> dict[str, Fraction]:
    for key in entry:
        if key not in _OWN - {"above"} | beside:
            raise _wrong(f"unknown key {key!r}; known are {', '.join(sorted(_OWN))}")
    rates = _picked(entry, _PER_MTOK, PICO // _MTOK)
    rates |= _picked(entry, {"usd_per_request": "request"}, PICO)
    if not rates:
        raise _wrong("names no rate")
    return rates


def _litellm(entry: Mapping[str, Any]) -> Tariff | None:
    rates = _picked(entry, _PER_TOKEN, PICO) | _picked(
        entry, {"input_cost_per_request": "request"}, PICO
    )
    if rates.keys().isdisjoint({"input", "output"}):
        return None
    bands: dict[int, dict[str, Fraction]] = {}
    for key in entry:
        name, above, threshold = key.partition("_above_")
        size = threshold.removesuffix("k_tokens")
        if above and name in _PER_TOKEN and size != threshold and size.isdecimal():
            found = _picked(entry, {key: _PER_TOKEN[name]}, PICO)
            bands[int(size) * 1000] = bands.get(int(size) * 1000, {}) | found
    return _banded(rates, bands)


def _banded(rates: dict[str, Fraction], bands: Mapping[int, dict[str, Fraction]]) -> Tariff:
    """What a band does not name stays as it is in the one below."""
    above: dict[int, Rates] = {}
    so_far = rates
    for start, changed in sorted(bands.items()):
        so_far = so_far | changed
        above[start] = Rates(**so_far)
    return Tariff(Rates(**rates), above)


def _picked(entry: Mapping[str, Any], keys: Mapping[str, str], pico: int) -> dict[str, Fraction]:
    """Rates by field, in pico-dollars per token; what is None is not there."""
    return {
        field: exact(entry[key], key) * pico
        for key, field in keys.items()
        if entry.get(key) is not None
    }


def exact(value: object, key: str = "rate") -> Fraction:
    """A number of dollars as it is written: 0.1 is a tenth. `ConfigurationError` unless finite and ≥ 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, Fraction)):
        raise _wrong(f"{key}: want a number of dollars, not {value!r}")
    if not isinstance(value, Fraction) and not isfinite(value):
        raise _wrong(f"{key}: want a finite number, not {value!r}")
    number = Fraction(float.__repr__(value)) if isinstance(value, float) else Fraction(value)
    if number < 0:
        raise _wrong(f"{key}: want a number ≥ 0, not {value!r}")
    return number


def _wrong(reason: str) -> ConfigurationError:
    return ConfigurationError("prices", reason)


PriceCall = Callable[[str | None, str, Any], object]
"""(provider, model, day) → an entry as `tariff_of` reads it, or None.  Sync; may run in any thread."""


def spellings(provider: str | None, model: str) -> list[str]:
    """The keys of a price list that may mean a model, the most specific first.

    ``("openai", "gpt-4o")``: ``openai/gpt-4o``, ``gpt-4o``. A prefix of the model's name is a provider:
    of ``azure/gpt-4o`` alone, ``azure/gpt-4o``, ``gpt-4o``.
    """
    parts = model.split("/")
    tails = ["/".join(parts[at:]) for at in range(len(parts))]
    named = [] if provider is None else [f"{provider}/{tail}" for tail in tails]
    return list(dict.fromkeys([*named, *tails]))
