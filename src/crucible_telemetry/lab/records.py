"""What a durable lab writes of an experiment beside its events, and how it comes back from that. PURE.

A record holds the options that are data, the life so far and the counts; callables (filters, enrichers,
metrics) are the program's and are named only, so that who goes on is asked for them again.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.progress import Counts, Progress, Quarantined
from crucible_telemetry.collect.spec import LIVING, ExperimentSpec, State, make_spec
from crucible_telemetry.collect.trials import TrialRecord
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.odd import plain
from crucible_telemetry.events.shape import encode
from crucible_telemetry.metrics.board import Board

CALLABLES: Final = ("event_filter", "sampling_strategy", "custom_metrics", "enrichers", "redact")
"""Options that are code: named in a record, and given again by who goes on."""
GIVEN_AGAIN: Final = (*CALLABLES, "prices", "export_on_exit", "store")
"""Options that may be given when an experiment is reopened."""
_NOT_KEPT: Final = ("name", "on_existing", "prices", "store", *CALLABLES)


class Owner(Struct, frozen=True):
    """Who writes an experiment: host, process id, when that process began (its own clock), and which lab of it."""

    host: str
    pid: int
    began: int
    lab: str = ""


class Lived(Struct, frozen=True, kw_only=True):
    """How an experiment lived so far: see `Life`."""

    active_ns: int
    paused_ns: int
    pauses_us: list[tuple[int, int]]
    gaps_us: list[tuple[int, int]]


class Record(Struct, frozen=True, kw_only=True):
    """One experiment as a keep holds it. `name`, `state`, `started_us` also stand in a table's columns."""

    name: str
    state: str
    started_us: int
    ended_us: int | None
    saved_us: int
    options: dict[str, Any]
    code: list[str]
    lived: Lived
    counts: Counts
    marks: dict[str, int]
    quarantine: list[Quarantined]
    owner: Owner
    version: str
    store: str | None = None
    """The store of its own that has the events; None: the keep has them."""


def options_of(spec: ExperimentSpec) -> dict[str, Any]:
    """The options that are data, as plain values."""
    defaults = ExperimentSpec(name=spec.name)
    return {
        name: as_kept(value)
        for name in spec.__struct_fields__
        if name not in _NOT_KEPT
        and (value := getattr(spec, name)) is not getattr(defaults, name)
        and value is not None
    }


def as_kept(value: Any) -> Any:
    """An option as it comes back from a keep: plain values, marks for what cannot be one."""
    if hasattr(value, "__fspath__"):
        return str(value)
    return plain(dict(value) if isinstance(value, Mapping) else value, 1)


def code_of(spec: ExperimentSpec) -> list[str]:
    """The options that are code and were given."""
    return [name for name in CALLABLES if getattr(spec, name)]


def spec_of(record: Record, given: Mapping[str, Any]) -> ExperimentSpec:
    """The spec again; `given` may hold what is code, `ConfigurationError` for anything else."""
    for option in given:
        if option not in GIVEN_AGAIN:
            raise ConfigurationError(
                option, f"was settled when {record.name!r} was started; only code is given again"
            )
    return make_spec(record.name, {**record.options, **given})


def check_code(record: Record, given: Mapping[str, Any]) -> None:
    """`ConfigurationError` names code that the experiment was started with and that is not given now."""
    for name in record.code:
        if name not in given:
            raise ConfigurationError(
                name,
                f"{record.name!r} was started with it: give it again to go on, or None to go without",
            )


def going_on(record: Record, owner: Owner, now_us: int) -> Record:
    """The record of an experiment that `owner` goes on with from now on."""
    return replace(record, state=State.RUNNING.value, owner=owner, saved_us=now_us, ended_us=None)


def packed(record: Record) -> bytes:
    """As bytes; what msgpack cannot hold stands as in events, by value or marked."""
    try:
        return encode(record)
    except Exception:  # noqa: BLE001 - a name or a tag that cannot be encoded keeps nobody from being kept
        return encode(plain(_fields(record), 0))


def _fields(struct: Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def unpacked(data: bytes) -> Record:
    """The record of `packed`."""
    return msgspec.msgpack.decode(data, type=Record)


def unknown(experiment_id: str, first_us: int, last_us: int, owner: Owner) -> Record:
    """The record of an experiment whose own is damaged: interrupted, named by its id, of its events' time."""
    return Record(
        name=experiment_id,
        state=State.INTERRUPTED.value,
        started_us=first_us,
        ended_us=last_us,
        saved_us=last_us,
        options={},
        code=[],
        lived=Lived(active_ns=0, paused_ns=0, pauses_us=[], gaps_us=[]),
        counts=Counts(),
        marks={},
        quarantine=[],
        owner=owner,
        version="",
    )


def life_of(experiment_id: str, record: Record, state: State, saved_ns: int) -> Life:
    """The life as it was when the record was written, which was at `saved_ns` of this monotonic clock.

    Of one that goes on, in another process, time has passed since.
    """
    life = Life(experiment_id, record.started_us, saved_ns)
    life.restore(
        state,
        record.ended_us if state is not State.INTERRUPTED else record.saved_us,
        (record.lived.active_ns, record.lived.paused_ns),
        (_ended(record), record.lived.gaps_us),
    )
    return life


def at_rest(record: Record, owner: Owner) -> Record:
    """The record of one that no process runs, wherever it comes from: what was running is interrupted.

    `export_on_exit` stays behind: it names a file of another machine, or one that somebody else chose.
    """
    record = replace(
        record,
        owner=owner,
        options={name: value for name, value in record.options.items() if name != "export_on_exit"},
    )
    if State(record.state) not in LIVING:
        return record
    return replace(
        record,
        state=State.INTERRUPTED.value,
        ended_us=record.saved_us,
        lived=replace(record.lived, pauses_us=_ended(record)),
    )


def _ended(record: Record) -> list[tuple[int, int]]:
    """Pauses; one that went on ended, as far as anybody knows, with the last thing written."""
    pauses = list(record.lived.pauses_us)
    if record.state == State.PAUSED:
        pauses[-1] = (pauses[-1][0], max(record.saved_us, pauses[-1][0]))
    return pauses


def progress_of(record: Record, board: Board, stored: int) -> Progress:
    """Where collecting stands: what was stored is what the store holds."""
    counts = record.counts
    return Progress(
        live=board,
        stored=stored,
        filtered=counts.filtered,
        sampled_out=counts.sampled_out,
        quarantined=counts.quarantined,
        marks=Counter(record.marks),
        quarantine=tuple(record.quarantine),
    )


def earlier_counts(record: Record, stored: int) -> Counts:
    """What earlier processes counted; events that were in flight when one died were owed to nobody."""
    counts = replace(record.counts, stored=stored, in_flight=0)
    return replace(counts, emitted=counts.accounted)


def trial_bytes(trial: TrialRecord, *, own: bool) -> bytes:
    """A trial's record as bytes, NaN and infinities too; `own`: it is of this experiment, not one it heard."""
    try:
        return encode((own, trial))
    except Exception:  # noqa: BLE001 - nor does a score
        return encode((own, plain(_fields(trial), 0)))


def trial_of(data: bytes) -> tuple[TrialRecord, bool]:
    """(trial, own) of `trial_bytes`."""
    own, trial = msgspec.msgpack.decode(data, type=tuple[bool, TrialRecord])
    return trial, own
