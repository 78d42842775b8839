"""The command line, as it is typed."""

import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from crucible_telemetry import cli
from crucible_telemetry.errors import ExportError


def invoke(*words):
    return CliRunner().invoke(cli.application(), words)


def test_the_version_is_the_installed_one():
    assert f"{version('crucible-telemetry')}\n" == invoke("--version").output


def test_without_a_command_the_help_names_the_demo():
    assert "demo" in invoke().output


@pytest.mark.parametrize("speed", ["0", "-3", "fast"])
def test_a_speed_that_makes_no_sense_is_refused_before_anything_starts(speed):
    result = invoke("demo", "--speed", speed)
    assert result.exit_code == 2
    assert "--speed" in result.output


def test_a_missing_extra_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"pip install 'crucible-telemetry\[cli\]'"):
        cli.main()


def test_another_missing_module_is_not_blamed_on_the_extra(monkeypatch):
    def broken():
        raise ModuleNotFoundError("no gadget", name="gadget")

    monkeypatch.setattr(cli, "application", broken)
    with pytest.raises(ModuleNotFoundError, match="gadget"):
        cli.main()


def test_an_error_of_the_library_is_one_line_and_not_a_traceback(monkeypatch):
    async def refuse(*_, **__):
        raise ExportError("out", "no room")

    monkeypatch.setattr("crucible_telemetry.demo.run.demo", refuse)
    monkeypatch.setattr(sys, "argv", ["crucible", "demo"])
    with pytest.raises(SystemExit, match="cannot export to 'out': no room"):
        cli.main()


def test_missing_events_are_an_exit_code(monkeypatch):
    async def incomplete(*_, **__):
        return False

    monkeypatch.setattr("crucible_telemetry.demo.run.demo", incomplete)
    assert invoke("demo").exit_code == 1
