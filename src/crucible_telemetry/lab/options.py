"""What a lab is asked to do: its options, and whether an experiment of a name can be taken up again."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from crucible_telemetry.collect.spec import LATER, ExperimentSpec, State
from crucible_telemetry.errors import ConfigurationError, NotBuiltYet
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.lab.durable import MEMORY
from crucible_telemetry.lab.records import GIVEN_AGAIN, as_kept

LATER_VERBS: Final = {
    "ledger": "it comes with budgets and alerts",
    "budget": "budgets come with the ledger",
    "study": "studies come with sequential tests",
    "join_experiment": "many machines come last",
}
"""Verbs of a lab whose part is not built yet, and what they wait for."""

_KEY_BYTES: Final = 16
_EVENT_BYTES: Final = 1024
_NOT_COMPARED: Final = ("on_existing", "export_on_exit")


def check_lab(url: object, options: Mapping[str, Any], unknown: Mapping[str, Any]) -> None:
    """`ConfigurationError` names the first option of `Lab` that is wrong, `NotBuiltYet` one that is to come."""
    for option in unknown:
        if option in LATER:
            raise NotBuiltYet(f"Lab({option}=)", LATER[option])
        raise ConfigurationError(option, "unknown option of Lab")
    wanted = "a string or a path (a store of one's own is given as store=)"
    _check("url", isinstance(url, str | os.PathLike), wanted, url)
    signals, size = options["handle_signals"], options["max_event_bytes"]
    limit_s, key = options["close_timeout_s"], options["privacy_key"]
    durability = options["durability"]
    _check(
        "read_only", isinstance(options["read_only"], bool), "True or False", options["read_only"]
    )
    if options["read_only"] and os.fspath(url) in MEMORY:  # type: ignore[call-overload]
        raise ConfigurationError("read_only", "in memory there is nothing to read")
    damage = options["on_damage"]
    _check("on_damage", damage in ("raise", "skip"), "'raise' or 'skip'", damage)
    _check("durability", durability in ("normal", "full"), "'normal' or 'full'", durability)
    _check("handle_signals", isinstance(signals, bool), "True or False", signals)
    whole = isinstance(size, int) and not isinstance(size, bool)
    _check("max_event_bytes", whole and size >= _EVENT_BYTES, "a whole number ≥ 1024", size)
    number = isinstance(limit_s, int | float) and not isinstance(limit_s, bool)
    good = number and limit_s > 0 and not math.isnan(limit_s)
    _check("close_timeout_s", good, "a number of seconds above zero", limit_s)
    if key is not None and not (isinstance(key, bytes) and len(key) >= _KEY_BYTES):
        given = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
        raise ConfigurationError(
            "privacy_key", f"want at least {_KEY_BYTES} bytes, not {given}: a short key is guessed"
        )


def _check(option: str, good: object, wanted: str, value: object) -> None:
    if not good:
        raise ConfigurationError(option, f"want {wanted}, not {value!r}")


def id_of(experiment: object) -> str:
    """The id of an experiment that is given by its id or its handle."""
    found = experiment.id if isinstance(experiment, Experiment) else experiment
    if not isinstance(found, str):
        raise ConfigurationError(
            "experiment_id", f"want an id or an experiment, not {experiment!r}"
        )
    return found


def listed(argument: str, ids: Iterable[str | Experiment]) -> list[str]:
    """Several ids or handles, as ids; one id alone would be read letter by letter."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise ConfigurationError(argument, f"want several ids or experiments, not {ids!r}")
    return [id_of(one) for one in ids]


def arms_of(experiments: object) -> list[Experiment]:
    """One experiment, or several, as a list; `ConfigurationError` for what is none."""
    several = isinstance(experiments, Iterable) and not isinstance(experiments, str)
    given: Iterable[object] = experiments if several else [experiments]  # type: ignore[assignment]
    arms: list[Experiment] = []
    for arm in given:
        if not isinstance(arm, Experiment):
            raise ConfigurationError("experiments", f"want experiments, not {arm!r}")
        arms.append(arm)
    return arms


def taken_up(
    same: Sequence[Experiment], spec: ExperimentSpec, given: Mapping[str, Any], *, lasting: bool
) -> Experiment | None:
    """The experiment of the same name that `on_existing` chooses; None for a new one.

    ``"resume"`` wants one that was started with what is `given` now, and that runs or is paused; in a lab
    whose experiments last (`lasting`), the newest will do, to be reopened unless it is archived or failed.
    """
    if not same or spec.on_existing == "new":
        return None
    newest = same[-1]
    if spec.on_existing == "error":
        raise ConfigurationError(
            "on_existing", f"experiment {newest.id!r} is named {spec.name!r} already"
        )
    living = [experiment for experiment in same if experiment._life.living]
    if not living and lasting and newest.state not in (State.ARCHIVED, State.FAILED):
        _check_same(newest, spec, {n: v for n, v in given.items() if n not in GIVEN_AGAIN})
        return newest
    if not living:
        where = "" if lasting else "in memory "
        raise ConfigurationError(
            "on_existing",
            f"{newest.id!r} is {newest.state.value}; {where}it cannot go on; choose another name "
            "or on_existing='new'",
        )
    _check_same(living[-1], spec, given)
    return living[-1]


def _check_same(existing: Experiment, spec: ExperimentSpec, given: Mapping[str, Any]) -> None:
    for option in given:
        before, now = getattr(existing.spec, option), getattr(spec, option)
        if option not in _NOT_COMPARED and not _equal(before, now):
            raise ConfigurationError(
                option,
                f"{existing.id!r} was started with {_shown(before)}, not {_shown(now)}; it goes on as it is, "
                "or choose on_existing='new'",
            )


def _shown(value: object) -> str:
    return repr(dict(value) if isinstance(value, Mapping) else value)


def _equal(before: object, now: object) -> bool:
    try:
        # What came back from a keep is plain: lists for tuples, text for dates.
        return before is now or bool(before == now) or as_kept(before) == as_kept(now)
    except Exception:  # noqa: BLE001 - what cannot be compared (an array) is not known to be the same
        return False
