"""``python -m crucible_telemetry``: the command line where no script ``crucible`` is on the path."""

from crucible_telemetry.cli import main

main()
