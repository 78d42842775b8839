"""Research telemetry for async LLM and ML experiments: every event captured, isolated, measured live.

An event's way through the house::

    1 · emit      events/      execute, span: who listens → encode once → append to a mailbox
    2 · collect   collect/     a supervised actor takes a batch: wanted? → private → enriched → priced
    3 · keep      stores/      in order of (time, seq)        3 · count   metrics/   the live board
                               on a file or server an actor of its own commits what is new each 200 ms
    4 · understand analysis/   windows, figures at rest       4 · take away export/  files
                   stats/      arrays in, estimates with intervals out; knows nothing of events
                   compare/    experiments side by side: units, design, method, result

    experiment/  the handle users hold     lab/  puts the pieces together and owns the tree
    runtime/     the ground: actors and supervisors, which know nothing of telemetry
    process.py   what a lab owes its process: fork, exit, SIGTERM     replay/, demo/, cli/  the terminal

Two rules: know what you hold, never who holds you; and one queue, forward only — the single thing that
flows back is waiting. Import contracts hold the first, `Mailbox` the second.

What is imported here is light; the lab (and NumPy with it) loads when it is first used.
"""

from typing import TYPE_CHECKING, Any

from crucible_telemetry.errors import (
    ComparisonError,
    ConfigurationError,
    CrucibleError,
    ExperimentFailed,
    ExportError,
    HandlerExists,
    LabClosed,
    LifecycleError,
    NotBuiltYet,
    QueryError,
    UnknownExperiment,
    UnreadableFile,
    no_attribute,
)
from crucible_telemetry.events import catalog
from crucible_telemetry.events.bind import bind
from crucible_telemetry.events.bus import execute, execute_nowait
from crucible_telemetry.events.event import Event, Outcome
from crucible_telemetry.events.instrument import instrument
from crucible_telemetry.events.routes import attach, attach_many, detach, list_handlers
from crucible_telemetry.events.span import LlmCall, Span, current_span, llm_call, span

if TYPE_CHECKING:
    from crucible_telemetry import stats, testing
    from crucible_telemetry.collect.pricelist import estimate_cost
    from crucible_telemetry.collect.progress import Counts, FlushResult, Health
    from crucible_telemetry.collect.trial import Trial
    from crucible_telemetry.collect.trials import TrialRecord
    from crucible_telemetry.compare import Comparison
    from crucible_telemetry.experiment import Experiment, current_experiment
    from crucible_telemetry.experiment.loaded import Loaded, load
    from crucible_telemetry.export.reading import read_events
    from crucible_telemetry.export.result import QueryResult
    from crucible_telemetry.export.series import JsonlMetricsStore
    from crucible_telemetry.lab import Lab
    from crucible_telemetry.metrics.config import MetricsConfig
    from crucible_telemetry.metrics.figures import Summary
    from crucible_telemetry.stores.base import (
        Between,
        Ge,
        Gt,
        Last,
        LastN,
        Le,
        Lt,
        Ne,
        OneOf,
        Where,
    )
    from crucible_telemetry.stores.series import MetricPoint, MetricsStore

__version__ = "0.1.0"

_LATE = {
    "stats": "",
    "testing": "",
    "Counts": "collect.progress",
    "FlushResult": "collect.progress",
    "Health": "collect.progress",
    "Trial": "collect.trial",
    "TrialRecord": "collect.trials",
    "Comparison": "compare",
    "Experiment": "experiment",
    "Loaded": "experiment.loaded",
    "load": "experiment.loaded",
    "QueryResult": "export.result",
    "read_events": "export.reading",
    "current_experiment": "experiment",
    "Lab": "lab",
    "JsonlMetricsStore": "export.series",
    "MetricPoint": "stores.series",
    "MetricsConfig": "metrics.config",
    "MetricsStore": "stores.series",
    "Summary": "metrics.figures",
    "estimate_cost": "collect.pricelist",
    **dict.fromkeys(
        ("Between", "Ge", "Gt", "Last", "LastN", "Le", "Lt", "Ne", "OneOf", "Where"), "stores.base"
    ),
}

_LATER = {
    "blocking_lab": "a lab without async comes with the integrations",
    "join": "many machines come last",
}

__all__ = [
    "Between",
    "Comparison",
    "ComparisonError",
    "ConfigurationError",
    "Counts",
    "CrucibleError",
    "Event",
    "Experiment",
    "ExperimentFailed",
    "ExportError",
    "FlushResult",
    "Ge",
    "Gt",
    "HandlerExists",
    "Health",
    "JsonlMetricsStore",
    "Lab",
    "LabClosed",
    "Last",
    "LastN",
    "Le",
    "LifecycleError",
    "LlmCall",
    "Loaded",
    "Lt",
    "MetricPoint",
    "MetricsConfig",
    "MetricsStore",
    "Ne",
    "NotBuiltYet",
    "OneOf",
    "Outcome",
    "QueryError",
    "QueryResult",
    "Span",
    "Summary",
    "Trial",
    "TrialRecord",
    "UnknownExperiment",
    "UnreadableFile",
    "Where",
    "__version__",
    "attach",
    "attach_many",
    "bind",
    "catalog",
    "current_experiment",
    "current_span",
    "detach",
    "estimate_cost",
    "execute",
    "execute_nowait",
    "instrument",
    "list_handlers",
    "llm_call",
    "load",
    "read_events",
    "span",
    "stats",
    "testing",
]


def __getattr__(name: str) -> Any:
    """Load what is heavy when it is first asked for (PEP 562)."""
    if name not in _LATE:
        raise no_attribute(f"module {__name__!r}", name, _LATER)
    import importlib  # noqa: PLC0415 - needed here only

    home = _LATE[name]  # of a module, nothing
    module = importlib.import_module(f"{__name__}.{home or name}")
    value = getattr(module, name) if home else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
