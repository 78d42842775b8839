"""Which items are in which arm: pairs, clusters or neither, decided by ids and repeats alone. PURE."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from crucible_telemetry.errors import ComparisonError
from crucible_telemetry.stats.arguments import Floats

Pairing = Literal["intersection", "independent"]
ENOUGH_SHARED: Final = 0.8
"""Below this share of common items, who asks has to say which comparison is meant."""


class Arm(Struct, frozen=True, eq=False):
    """One arm's numbers, a row a unit: times have `observed`, ratios `below` (their denominators)."""

    name: str
    values: Floats
    items: NDArray[Any] | None
    observed: NDArray[np.bool_] | None = None
    below: Floats | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def repeated(self) -> bool:
        """Whether some item has several units."""
        return self.items is not None and len(np.unique(self.items)) < len(self.items)

    def rows(self, kept: NDArray[np.bool_]) -> "Arm":
        """Some of its units."""

        def cut(column: Any) -> Any:
            return None if column is None else column[kept]

        return replace(
            self,
            values=self.values[kept],
            items=cut(self.items),
            observed=cut(self.observed),
            below=cut(self.below),
        )

    def with_values(self, values: Floats) -> "Arm":
        """Other numbers of the same units."""
        return replace(self, values=values)

    def item_means(self) -> tuple[NDArray[Any], Floats]:
        """The items in order, and the mean over the repeats of each."""
        if self.items is None or not self.repeated:
            order = np.arange(len(self)) if self.items is None else np.argsort(self.items)
            return (order if self.items is None else self.items[order]), self.values[order]
        names, inverse, sizes = np.unique(self.items, return_inverse=True, return_counts=True)
        sums: Floats = np.bincount(inverse, weights=self.values, minlength=len(names)) / sizes
        return names, sums

    def item_sums(self, values: Floats) -> Floats:
        """Sums over the units of each item, in the order of `item_means`."""
        if self.items is None:
            return values
        _, inverse = np.unique(self.items, return_inverse=True)
        sums: Floats = np.bincount(inverse, weights=values).astype(np.float64)
        return sums


class Design(Struct, frozen=True, eq=False):
    """The arms as they are compared: missing values and unpaired items left out, and counted in `losses`.

    `paired`: every item is in every arm; `crossed`: some are; `repeated`: an item has several units.
    """

    arms: tuple[Arm, ...]
    paired: bool
    crossed: bool
    repeated: bool
    losses: tuple[tuple[int, int], ...]
    """(units without a value, items without a partner) of each arm."""
    notes: tuple[str, ...] = ()


def designed(metric: str, arms: Sequence[Arm], pairing: Pairing | None) -> Design:
    """The design of these arms; ComparisonError under 80 % common items unless `pairing` says what to do."""
    kept = [arm.rows(~np.isnan(arm.values)) for arm in arms]
    missing = [len(arm) - len(left) for arm, left in zip(arms, kept, strict=True)]
    for arm in kept:
        if not len(arm):
            raise ComparisonError(metric, f"{arm.name} has no value of it")
    common, share = _common(kept)
    crossed = share > 0
    if crossed and pairing != "independent":
        _check_share(metric, share, pairing)
        return _paired(kept, common, missing)
    note = (
        (f"items in several arms ({share:.0%}) are one cluster each, none is left out",)
        if crossed
        else ()
    )
    losses = tuple((count, 0) for count in missing)
    repeated = any(arm.repeated for arm in kept)
    return Design(
        tuple(kept), paired=False, crossed=crossed, repeated=repeated, losses=losses, notes=note
    )


def _common(arms: Sequence[Arm]) -> tuple[NDArray[Any], float]:
    """Items that every arm has, and their share of all."""
    if any(arm.items is None for arm in arms):
        return np.zeros(0, np.str_), 0.0
    sets = [np.unique(arm.items) for arm in arms if arm.items is not None]
    common, every = sets[0], sets[0]
    for one in sets[1:]:
        common, every = np.intersect1d(common, one), np.union1d(every, one)
    return common, len(common) / len(every)


def _check_share(metric: str, share: float, pairing: Pairing | None) -> None:
    if share < ENOUGH_SHARED and pairing is None:
        raise ComparisonError(
            metric,
            f"only {share:.0%} of the items have a value in every arm: say pairing='intersection' (these "
            "alone, as pairs) or pairing='independent' (all)",
        )


def _paired(arms: Sequence[Arm], common: NDArray[Any], missing: Sequence[int]) -> Design:
    kept = tuple(arm.rows(np.isin(arm.items, common)) for arm in arms)  # type: ignore[arg-type]
    lost = [len(np.unique(arm.items)) - len(common) for arm in arms]  # type: ignore[arg-type]
    notes = [
        f"{arm.name}: {count} of its items have no value in another arm, and are left out"
        for arm, count in zip(arms, lost, strict=True)
        if count
    ]
    losses = tuple(zip(missing, lost, strict=True))
    repeated = any(arm.repeated for arm in kept)
    return Design(
        kept, paired=True, crossed=True, repeated=repeated, losses=losses, notes=tuple(notes)
    )
