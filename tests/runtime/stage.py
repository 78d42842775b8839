"""Children that write down what happens to them, for the tests of supervisors."""

import anyio

from crucible_telemetry.runtime.children import ChildSpec
from crucible_telemetry.runtime.loops import Signal, spawn_root
from crucible_telemetry.runtime.supervisor import Supervisor


class Fall:
    def __init__(self):
        self.signal, self.error = Signal(), None


class Stage:
    """Children that write down what happens to them, and when."""

    def __init__(self):
        self.log = []
        self.reports = []
        self.falls = {}

    def on_event(self, event):
        self.reports.append((event.kind.value, event.child))

    def child(self, name, **options):
        """Runs until cancelled or until `crash` is called with its name."""

        async def start():
            fall = self.falls[name] = Fall()
            self.log.append(f"+{name}")
            try:
                await fall.signal.wait()
            finally:
                self.log.append(f"-{name}")
            if fall.error is not None:
                raise fall.error

        return ChildSpec(name, start, **options)

    def crash(self, name, error=None):
        self.end(name, error or ValueError(name))

    def end(self, name, error=None):
        self.falls[name].error = error
        self.falls[name].signal.set()

    def new(self, names, **options):
        specs = [self.child(name) if isinstance(name, str) else name for name in names]
        return Supervisor("top", specs, on_event=self.on_event, **options)

    async def settle(self):
        """Let everything that can happen now happen (time stands still or jumps by a nanosecond)."""
        await anyio.sleep(1e-6)

    def fresh(self):
        log, self.log = self.log, []
        return "".join(log)


class Deaf:
    """A child that hears of no cancellation in its first run, until the end of the block."""

    def __init__(self, error=None):
        self.release, self.ended, self.error, self.starts = Signal(), Signal(), error, 0

    async def start(self):
        self.starts += 1
        if self.starts > 1:
            await anyio.sleep_forever()
        with anyio.CancelScope(shield=True):
            await self.release.wait()
        self.ended.set()
        if self.error:
            raise self.error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release.set()  # or trio would wait for it for ever when the test fails


class Running:
    """A supervisor in a root task for the length of a block; at the end it is stopped."""

    def __init__(self, supervisor):
        self.supervisor = supervisor

    async def __aenter__(self):
        self.root = spawn_root(self.supervisor.run, "top")
        await anyio.sleep(1e-6)
        return self.root

    async def __aexit__(self, *_):
        self.root.cancel()
        await self.root.wait()
