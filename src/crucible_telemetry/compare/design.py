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

    def by_item(self) -> "Arm":
        """A row an item, the mean over its repeats; itself where nothing is repeated."""
        if not self.repeated:
            return self
        names, means = self.item_means()
        return Arm(self.name, means, names)

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
    """The design of these arms; ComparisonError under 80 % common items unless `pairing` says what to do.

    Items that only some of several arms share are no less dependent: they count as partly common too.
    """
    kept = [arm.rows(~np.isnan(arm.values)) for arm in arms]
    missing = [len(arm) - len(left) for arm, left in zip(arms, kept, strict=True)]
    for arm in kept:
        if not len(arm):
            raise ComparisonError(metric, f"{arm.name} has no value of it")
    common, share, crossed = _common(kept)
    if pairing == "intersection" or (crossed and pairing is None):
        _check_share(metric, share, pairing)
        return _paired(kept, common, missing)
    note = (
        (f"items in several arms ({crossed:.0%}) are one cluster each, none is left out",)
        if crossed
        else ()
    )
    losses = tuple((count, 0) for count in missing)
    repeated = any(arm.repeated for arm in kept)
    return Design(
        tuple(kept), paired=False, crossed=crossed > 0, repeated=repeated, losses=losses, notes=note
    )


def _common(arms: Sequence[Arm]) -> tuple[NDArray[Any], float, float]:
    """Items that every arm has, their share of all, and the share that lies in more arms than one."""
    sets = [np.unique(arm.items) for arm in arms if arm.items is not None]
    if len(sets) < len(arms):
        return np.zeros(0, np.str_), 0.0, 0.0
    every, counts = np.unique(np.concatenate(sets), return_counts=True)
    common = every[counts == len(arms)]
    return common, len(common) / len(every), float((counts > 1).mean())


def _check_share(metric: str, share: float, pairing: Pairing | None) -> None:
    if share < ENOUGH_SHARED and pairing is None:
        raise ComparisonError(
            metric,
            f"only {share:.0%} of the items have a value in every arm: say pairing='intersection' (these "
            "alone, as pairs) or pairing='independent' (all)",
        )
    if share == 0:
        raise ComparisonError(
            metric, "no item has a value in every arm, so there is nothing to pair"
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
