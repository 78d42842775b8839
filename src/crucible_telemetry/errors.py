"""Every error of the library, as one tree; messages say what, which and why.

::

    CrucibleError
    ├── ConfigurationError (ValueError)   an option is wrong; raised before anything starts
    │   └── NotBuiltYet                   an option or verb whose part this version does not have
    │       └── NameNotBuiltYet (AttributeError)   a name that comes later; `hasattr` says no
    ├── UnknownExperiment (LookupError)   no experiment has this id
    ├── LifecycleError                    the experiment's state does not allow the command
    │   └── ExperimentFailed              its restart budget is spent; its data stays readable
    ├── LabClosed                         the lab is not open
    ├── HandlerExists (ValueError)        a handler id is taken
    ├── ExportError (OSError)             a file could not be written; nothing torn is left behind
    ├── ComparisonError (ValueError)      a comparison that would not be honest
    ├── UnreadableFile (ValueError)       a file holds no events, or what no file of events holds
    ├── QueryError (ValueError)           a window or filter makes no sense
    ├── SequenceGap (ValueError)          a batch does not follow what the store holds
    ├── StoreError (OSError)              a durable store: which, and what of it
    │   ├── StoreUnavailable              disk full, locked, server away: a later try may do
    │   ├── StoreDamaged                  what was written is not there as it was: names what is missing
    │   └── StoreRefused                  not ours, a newer format, no permission: trying again is no use
    └── RuntimeFault                      actors and supervisors
        ├── RestartsExhausted             more restarts than the supervisor allows
        ├── ActorStopped                  a message to an actor that has ended
        ├── MailboxFull                   tell_nowait found no room
        └── AskTimeout (TimeoutError)     no reply in time

Fields go to ``super().__init__`` and the sentence is ``__str__``, so that an error survives
pickling to another process.
"""

from collections.abc import Mapping


class CrucibleError(Exception):
    """The root: everything this library raises on purpose."""


class ConfigurationError(CrucibleError, ValueError):
    """An option is wrong: which one, what was given, what would do."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(option, reason)
        self.option, self.reason = option, reason

    def __str__(self) -> str:
        return f"{self.option}: {self.reason}"


class NotBuiltYet(ConfigurationError):
    """The part behind an option or verb is not in this version; nothing is accepted and ignored."""

    def __str__(self) -> str:
        return f"{self.option} is not built yet: {self.reason}"


class NameNotBuiltYet(NotBuiltYet, AttributeError):
    """A name of a later version was looked up: an `AttributeError` too, so that `hasattr` is False."""


def no_attribute(owner: str, name: str, later: Mapping[str, str]) -> AttributeError:
    """The error for a name that is not there: one that comes later (name → what it waits for), or none."""
    if name in later:
        return NameNotBuiltYet(name, later[name])
    return AttributeError(f"{owner} has no attribute {name!r}")


def install(extra: str) -> str:
    """The command that brings an extra of this package, or several (``"cli,stats"``), as messages name it."""
    return f"pip install 'crucible-telemetry[{extra}]'"


class UnknownExperiment(CrucibleError, LookupError):
    """No experiment of this lab has this id."""

    def __init__(self, experiment_id: str, known: int) -> None:
        super().__init__(experiment_id, known)
        self.experiment_id, self.known = experiment_id, known

    def __str__(self) -> str:
        return f"no experiment {self.experiment_id!r} in this lab (it knows {self.known})"


class LifecycleError(CrucibleError):
    """An experiment was asked for something its state does not allow."""

    def __init__(self, experiment_id: str, state: str, command: str) -> None:
        super().__init__(experiment_id, state, command)
        self.experiment_id, self.state, self.command = experiment_id, state, command

    def __str__(self) -> str:
        return f"cannot {self.command} experiment {self.experiment_id!r}: it is {self.state}"


class ExperimentFailed(LifecycleError):
    """The collector spent its restart budget: what was stored stays readable, the rest is counted.

    `reason` is the type and place of the last crash; its text, which may quote what an event held, stands
    only in `Experiment.failure`.
    """

    def __init__(self, experiment_id: str, state: str, command: str, reason: str) -> None:
        super().__init__(experiment_id, state, command)
        self.args = (experiment_id, state, command, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.reason})"


class LabClosed(CrucibleError):
    """The lab is not open for this: not yet, not any more, or only to be read."""

    def __init__(self, command: str, state: str) -> None:
        super().__init__(command, state)
        self.command, self.state = command, state

    def __str__(self) -> str:
        return f"cannot {self.command}: the lab is {self.state}"


class HandlerExists(CrucibleError, ValueError):
    """A handler with this id is attached already."""

    def __init__(self, handler_id: str) -> None:
        super().__init__(handler_id)
        self.handler_id = handler_id

    def __str__(self) -> str:
        return f"a handler {self.handler_id!r} is attached already: detach it first, or choose another id"


class ExportError(CrucibleError, OSError):
    """A file could not be written; the target is as it was before."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"cannot export to {self.path!r}: {self.reason}"


class ComparisonError(CrucibleError, ValueError):
    """Two experiments cannot be compared by this metric: which, and why."""

    def __init__(self, metric: str, reason: str) -> None:
        super().__init__(metric, reason)
        self.metric, self.reason = metric, reason

    def __str__(self) -> str:
        return f"cannot compare {self.metric!r}: {self.reason}"


class UnreadableFile(CrucibleError, ValueError):
    """A file could not be read as events: which line, and why; nothing of it was kept."""

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        super().__init__(path, line, reason)
        self.path, self.line, self.reason = path, line, reason

    def __str__(self) -> str:
        place = "" if self.line is None else f", line {self.line:,}"
        return f"cannot read {self.path!r}{place}: {self.reason}"


class QueryError(CrucibleError, ValueError):
    """A window or a filter that makes no sense: which argument, and why."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(argument, reason)
        self.argument, self.reason = argument, reason

    def __str__(self) -> str:
        return f"{self.argument}: {self.reason}"


class SequenceGap(CrucibleError, ValueError):
    """A batch begins after the next seq a store expects: events between would be missing."""

    def __init__(self, last_seq: int, first_seq: int) -> None:
        super().__init__(last_seq, first_seq)
        self.last_seq, self.first_seq = last_seq, first_seq

    def __str__(self) -> str:
        return f"the store ends at seq {self.last_seq}, this batch begins at {self.first_seq}"


class StoreError(CrucibleError, OSError):
    """Something about a durable store: which one (no password in it), and what."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(store, reason)
        self.store, self.reason = store, reason

    def __str__(self) -> str:
        return f"{self.store}: {self.reason}"


class StoreUnavailable(StoreError):
    """It cannot take or give anything now: disk full, locked, server away. What was emitted waits."""


class StoreDamaged(StoreError):
    """Something that was written is not there as it was; the message names which events."""


class StoreRefused(StoreError):
    """It is not a store of ours, has a newer format, or may not be written."""


class StoreTaken(StoreRefused):
    """Another lab writes this experiment now: while its store was out of reach this one was taken for dead."""

    def __init__(self, store: str, experiment_id: str) -> None:
        super().__init__(store, f"experiment {experiment_id!r} is written by another lab now")
        self.args = (store, experiment_id)
        self.experiment_id = experiment_id


class RuntimeFault(CrucibleError):
    """Something in the tree of actors and supervisors."""


class RestartsExhausted(RuntimeFault):
    """A supervisor gave up: more than ``intensity`` restarts within ``period_s`` seconds."""

    def __init__(self, supervisor: str, child: str, intensity: int, period_s: float) -> None:
        super().__init__(supervisor, child, intensity, period_s)
        self.supervisor, self.child = supervisor, child
        self.intensity, self.period_s = intensity, period_s

    def __str__(self) -> str:
        return (
            f"supervisor {self.supervisor!r} gave up: child {self.child!r} asked for more than "
            f"{self.intensity} restarts in {self.period_s:g} s"
        )


class ActorStopped(RuntimeFault):
    """A message was sent to an actor that has ended, or it ended before it answered."""

    def __init__(self, actor: str) -> None:
        super().__init__(actor)
        self.actor = actor

    def __str__(self) -> str:
        return f"actor {self.actor!r} has stopped"


class MailboxFull(RuntimeFault):
    """``tell_nowait`` found no room."""

    def __init__(self, actor: str, capacity: int) -> None:
        super().__init__(actor, capacity)
        self.actor, self.capacity = actor, capacity

    def __str__(self) -> str:
        return f"the mailbox of actor {self.actor!r} is full ({self.capacity} messages)"


class AskTimeout(RuntimeFault, TimeoutError):
    """No reply came in time."""

    def __init__(self, actor: str, timeout_s: float) -> None:
        super().__init__(actor, timeout_s)
        self.actor, self.timeout_s = actor, timeout_s

    def __str__(self) -> str:
        return f"actor {self.actor!r} did not answer within {self.timeout_s:g} s"
