"""What users import: pinned, documented, light; and what is not built yet says so."""

import inspect
import json
import subprocess
import sys

import pytest

import crucible_telemetry as ct
from crucible_telemetry import stores

FACE = {
    "Between", "Comparison", "ComparisonError", "ConfigurationError", "Counts", "CrucibleError", "Event", "Experiment",
    "ExperimentFailed", "ExportError", "FlushResult", "Ge", "Gt", "HandlerExists", "Health", "JsonlMetricsStore", "Lab",
    "LabClosed", "Last", "LastN", "Le", "LifecycleError", "LlmCall", "Loaded", "Lt", "MetricPoint", "MetricsConfig", "MetricsStore", "Ne", "NotBuiltYet",
    "OneOf", "Outcome", "QueryError", "QueryResult", "Span", "Summary", "Trial", "TrialRecord",
    "UnknownExperiment", "UnreadableFile", "Where", "__version__", "attach", "attach_many", "bind", "catalog",
    "current_experiment", "current_span", "detach", "estimate_cost", "execute", "execute_nowait", "instrument",
    "list_handlers", "llm_call", "load", "read_events", "span", "stats", "testing",
}  # fmt: skip
ON_AN_EXPERIMENT = {
    "active_seconds", "archive", "checkpoint", "cleanup", "count_events", "counts", "events", "export", "export_error", "failure",
    "flush", "health", "id", "live", "metrics", "name", "open_spans", "pages", "pause", "pause_count",
    "paused_seconds", "reopen", "reset_live", "resume", "scope", "series", "span", "spec", "state", "stop", "stream",
    "subscribe", "to_arrow", "to_pandas", "to_polars", "trial", "trials", "trials_done", "window", "windowed_metrics",
}  # fmt: skip
ON_A_LAB = {
    "archive", "calculate_metrics", "checkpoint", "cleanup", "close", "compare_experiments", "estimate_cost", "experiment",
    "export", "export_multiple", "get_experiment", "is_paused", "list_experiments", "open", "pause_experiment", "prune",
    "refresh", "reopen_experiment", "restore", "resume_experiment", "sql", "start_experiment", "state", "stop_experiment",
    "tree", "trials", "unheard",
}  # fmt: skip
ON_A_FILE = {
    "count_events", "events", "export", "flush", "id", "live", "metrics", "name", "pages", "path",
    "reset_live", "spec", "state", "stream", "subscribe", "to_arrow", "to_pandas", "to_polars",
    "trials", "window", "windowed_metrics",
}  # fmt: skip
OPTIONAL = (
    "numpy",
    "scipy",
    "statsmodels",
    "rich",
    "typer",
    "trio",
    "pandas",
    "pyarrow",
    "duckdb",
    "sortedcontainers",
)


def fresh(code):
    """What a new interpreter prints, as JSON."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(run.stdout)


def test_the_face_is_this():
    assert set(ct.__all__) == FACE
    assert ct.__all__ == sorted(ct.__all__)
    assert dir(ct) == sorted(FACE)


@pytest.mark.asyncio
async def test_experiments_labs_and_files_show_what_users_ask_of_them_and_nothing_else(tmp_path):
    def shown(thing):
        return {name for name in dir(thing) if not name.startswith("_")}

    async with ct.Lab() as lab:
        assert shown(lab) == ON_A_LAB
        async with lab.experiment("a") as exp:
            assert shown(exp) == ON_AN_EXPERIMENT
            loaded = await ct.load(await exp.export(tmp_path / "a.jsonl"))
    assert shown(loaded) == ON_A_FILE


@pytest.mark.parametrize("name", sorted(FACE - {"__version__"}))
def test_every_public_name_is_there_and_says_what_it_is(name):
    thing = getattr(ct, name)
    text = inspect.getdoc(thing)
    assert text
    assert len(text) > 15
    assert not text.startswith(f"{name}(")  # a generated signature is no documentation


@pytest.mark.parametrize(
    "name", ["Experiment", "Lab", "Loaded", "Span", "LlmCall", "Trial", "TrialRecord"]
)
def test_every_public_method_says_what_it_does(name):
    cls = getattr(ct, name)
    members = {
        key: member
        for key, member in vars(cls).items()
        if not key.startswith("_") and (callable(member) or isinstance(member, property))
    }
    assert members
    assert [key for key, member in members.items() if not inspect.getdoc(member)] == []


FOR_STORES = {
    "Columns", "LabClosed", "MemoryStore", "Page", "Position", "Query", "QueryError", "SequenceGap", "Store", "StoreDamaged",
    "StoreHealth", "StoreReader", "StoreRefused", "StoreUnavailable", "Where", "decode", "digest", "encode",
    "following", "matches", "taken",
}  # fmt: skip


def test_what_an_author_of_a_store_needs_is_in_one_place_and_documented_there():
    assert set(stores.__all__) == FOR_STORES
    assert dir(stores) == sorted(FOR_STORES)
    guide = inspect.getdoc(stores)
    for name in FOR_STORES:
        assert f"`{name}`" in guide
        assert inspect.getdoc(getattr(stores, name))
    verbs = {name: verb for name, verb in vars(stores.Store).items() if not name.startswith("_")}
    assert {"append", "commit", "page", "count", "columns", "close", "last_seq"} == set(verbs)
    assert all(len(inspect.getdoc(verb)) > 40 for verb in verbs.values())


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="'crucible_telemetry' has no attribute 'nope'"):
        ct.nope  # noqa: B018 - the look itself is tested


def test_errors_form_one_tree_with_the_builtins_they_are():
    errors = [v for v in vars(ct).values() if isinstance(v, type) and issubclass(v, BaseException)]
    assert len(errors) == 12
    assert all(issubclass(error, ct.CrucibleError) for error in errors)
    assert issubclass(ct.ConfigurationError, ValueError)
    assert issubclass(ct.UnknownExperiment, LookupError)
    assert issubclass(ct.ExportError, OSError)


def test_importing_loads_nothing_optional_and_emitting_neither():
    code = (
        "import sys, json; bare = set(sys.modules); import crucible_telemetry as ct;"
        "ct.execute_nowait('a.b', {'x': 1}); ct.span('s').__enter__(); dir(ct);"
        "print(json.dumps([m for m in sys.modules if m not in bare]))"
    )
    loaded = fresh(code)
    assert "crucible_telemetry.events.bus" in loaded
    assert [name for name in loaded if name.partition(".")[0] in OPTIONAL] == []
    assert "asyncio" not in loaded
    assert "crucible_telemetry.lab" not in loaded


def test_statistics_load_scipy_when_first_used_and_only_what_a_test_needs():
    code = (
        "import sys, json, crucible_telemetry as ct; stats = ct.stats;"
        "before = [m for m in sys.modules if m.partition('.')[0] in ('scipy', 'statsmodels')];"
        "stats.welch_t([1.0, 2.0, 4.0], [2.0, 5.0]);"
        "print(json.dumps([before, 'scipy.special' in sys.modules, 'scipy.stats' in sys.modules]))"
    )
    assert fresh(code) == [[], True, False]


def test_importing_takes_less_than_150_ms_of_the_processor():
    code = (
        "import time; t = time.process_time(); import crucible_telemetry;"
        "print(time.process_time() - t)"
    )
    best_s = min(fresh(code) for _ in range(5))
    assert best_s < 0.150


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ct.Lab(system_metrics=10), "system_metrics"),
        (lambda: ct.Lab(cluster="nats://x"), "cluster"),
    ],
)
def test_a_lab_option_that_is_not_built_yet_raises_at_the_call(make, what):
    with pytest.raises(ct.NotBuiltYet, match=f"(?s){what}.*is not built yet"):
        make()


def test_an_unknown_option_of_a_lab_is_refused():
    with pytest.raises(ct.ConfigurationError, match="colour: unknown option") as told:
        ct.Lab(colour="red")
    assert not isinstance(told.value, ct.NotBuiltYet)


@pytest.mark.asyncio
async def test_verbs_and_options_that_are_not_built_yet_raise_at_the_call(tmp_path):
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("a", capture="scope")
        calls = [
            lab.start_experiment("b", budget=5),
            lab.start_experiment("b", alerts=[]),
        ]
        for call in calls:
            with pytest.raises(ct.NotBuiltYet, match="is not built yet"):
                await call
        assert lab.list_experiments() == [exp]
    assert list(tmp_path.iterdir()) == []
