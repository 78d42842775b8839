"""The options of an experiment are checked when it starts, and the life cycle is one table."""

import pickle

import pytest

from crucible_telemetry.collect.spec import TRANSITIONS, State, make_spec, next_state
from crucible_telemetry.errors import ConfigurationError, LifecycleError, NotBuiltYet


async def waits(*_):
    return True


class Streams:
    def add(self, event): ...

    def result(self): ...


class Waits:
    async def calculate(self, events): ...


def test_an_experiment_hears_everything_and_keeps_texts_private_by_default():
    spec = make_spec("a", {})
    assert (spec.capture, spec.privacy, spec.condition) == ("process", "metadata", "default")
    assert spec.hears("anything")
    assert not spec.sampled


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("capture", "global"),
        ("privacy", "hidden"),
        ("privacy", None),
        ("privacy_sees", "all"),
        ("overflow", "drop"),
        ("on_existing", "replace"),
        ("sample_size", 0),
        ("sample_size", 2.5),
        ("sample_size", True),
        ("mailbox_size", 0),
        ("mailbox_size", "8"),
        ("sampling_rate", 1.1),
        ("sampling_rate", -0.1),
        ("sampling_rate", float("nan")),
        ("sampling_rate", "0.5"),
        ("stop_at_sample_size", True),
        ("seed", "x"),
        ("condition", 7),
        ("tags", "h1"),
        ("tags", [1]),
        ("tags", 5),
        ("events", ["a*b"]),
        ("events", [""]),
        ("events", 5),
        ("events", []),
        ("event_filter", waits),
        ("event_filter", 5),
        ("sampling_strategy", waits),
        ("redact", waits),
        ("enrichers", [waits]),
        ("enrichers", [5]),
        ("enrichers", len),
        ("custom_metrics", {"a": object()}),
        ("custom_metrics", [Streams()]),
        ("custom_metrics", {"a": Streams}),
        ("custom_metrics", {"a": Waits()}),
        ("custom_metrics", []),
        ("metadata", 5),
        ("metadata", 0),
        ("hypothesis", 5),
        ("seed", True),
        ("stop_at_sample_size", 1),
        ("export_on_exit", 5),
        ("colour", "red"),
    ],
)
def test_a_wrong_option_is_refused_and_named(option, value):
    with pytest.raises(ConfigurationError) as told:
        make_spec("a", {option: value})
    assert told.value.option == option
    assert not isinstance(told.value, NotBuiltYet)


@pytest.mark.parametrize("option", ["alerts", "budget"])
def test_an_option_that_is_not_built_yet_says_so(option):
    with pytest.raises(NotBuiltYet, match=f"{option} is not built yet"):
        make_spec("a", {option: {}})


def test_a_file_in_no_format_is_refused_before_the_run_not_after():
    with pytest.raises(ConfigurationError, match="export_on_exit"):
        make_spec("a", {"export_on_exit": "run.feather"})
    assert make_spec("a", {"export_on_exit": "run.jsonl.gz"}).export_on_exit == "run.jsonl.gz"


@pytest.mark.parametrize("name", ["", "   ", None, 5])
def test_an_experiment_needs_a_name(name):
    with pytest.raises(ConfigurationError, match="name"):
        make_spec(name, {})


@pytest.mark.parametrize(
    ("events", "heard", "unheard"),
    [
        ("llm.*", "llm.request.stop", "llm2.x"),
        (["a.b", "c.*"], "a.b", "a.b.c"),
        (("req_llm", "request", "stop"), "req_llm.request.stop", "request"),
        ([("a", "b"), "c"], "a.b", "a"),
        (["*"], "anything", None),
    ],
)
def test_patterns_say_what_is_heard(events, heard, unheard):
    spec = make_spec("a", {"events": events})
    assert heard is None or spec.hears(heard)
    assert unheard is None or not spec.hears(unheard)


def test_streaming_and_calculating_metrics_are_both_accepted():
    class Calculates:
        def calculate(self, events): ...

    spec = make_spec("a", {"custom_metrics": {"s": Streams(), "c": Calculates()}})
    assert set(spec.custom_metrics) == {"s", "c"}


def test_the_spec_keeps_its_own_copies():
    metadata, tags = {"seed": 1}, ["a"]
    spec = make_spec("a", {"metadata": metadata, "tags": tags})
    metadata["seed"] = 2
    tags.append("b")
    assert spec.metadata == {"seed": 1}
    with pytest.raises(TypeError):
        spec.metadata["seed"] = 3
    assert spec.tags == ("a",)


COMMANDS = ("pause", "resume", "stop", "fail", "archive", "cleanup", "reopen")


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_leads_where_the_table_says_or_is_an_error_that_names_all(state, command):
    if command in TRANSITIONS[state]:
        assert next_state("e1", state, command) is TRANSITIONS[state][command]
        return
    with pytest.raises(LifecycleError) as told:
        next_state("e1", state, command)
    error = pickle.loads(pickle.dumps(told.value))
    assert (error.experiment_id, error.state, error.command) == ("e1", state.value, command)
    assert str(error) == f"cannot {command} experiment 'e1': it is {state.value}"


def test_the_table_has_the_states_and_moves_of_the_contract():
    moves = {(a.value, c, b.value) for a, row in TRANSITIONS.items() for c, b in row.items()}
    assert moves == {
        ("running", "pause", "paused"),
        ("running", "stop", "stopped"),
        ("running", "fail", "failed"),
        ("running", "interrupt", "interrupted"),
        ("paused", "resume", "running"),
        ("paused", "stop", "stopped"),
        ("paused", "fail", "failed"),
        ("stopped", "stop", "stopped"),
        ("stopped", "reopen", "running"),
        ("stopped", "archive", "archived"),
        ("interrupted", "archive", "archived"),
        ("failed", "archive", "archived"),
        ("archived", "archive", "archived"),
        ("archived", "stop", "archived"),
        ("stopped", "cleanup", "stopped"),
        ("archived", "cleanup", "archived"),
        ("interrupted", "reopen", "running"),
        ("interrupted", "cleanup", "interrupted"),
        ("failed", "stop", "failed"),
        ("failed", "fail", "failed"),
        ("failed", "cleanup", "failed"),
    }
