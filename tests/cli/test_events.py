"""``crucible events``: the catalog as users type for it."""

import json

import pytest
from typer.testing import CliRunner

import crucible_telemetry as ct
from crucible_telemetry import cli
from crucible_telemetry.errors import ConfigurationError


def invoke(*words):
    return CliRunner().invoke(cli.application(), words, env={"COLUMNS": "120"})


def test_the_table_names_every_event_with_its_unit():
    done = invoke("events")
    assert done.exit_code == 0
    lines = {line.split()[0]: line for line in done.output.splitlines() if line.startswith("  ")}
    assert set(ct.catalog.standard_events()) <= lines.keys()
    assert " us " in lines["ensemble.predict.stop"]
    assert "around others" in lines["ensemble.predict.stop"]
    assert " ms " in lines["crucible_hedging.request.stop"]
    assert " yes " in lines["req_llm.request.stop"]
    assert max(map(len, done.output.splitlines())) <= 120


def test_one_category_is_listed_alone_and_json_says_the_same():
    done = invoke("events", "--category", "hedging", "--json")
    rows = json.loads(done.output)
    assert [row["event"] for row in rows] == ct.catalog.events_by_category()["hedging"]
    assert {row["category"] for row in rows} == {"hedging"}
    fired = next(row for row in rows if row["event"] == "hedging.hedge.fired")
    assert fired["fields"]["delay_ms"] == "ms"
    assert not fired["ends"]
    assert "hedging.request.duplicated" in fired["same_as"]


def test_an_unknown_category_is_refused_with_those_there_are():
    done = invoke("events", "--category", "lasagne")
    assert isinstance(done.exception, ConfigurationError)
    with pytest.raises(ConfigurationError, match="want one of llm, ensemble, hedging"):
        raise done.exception
