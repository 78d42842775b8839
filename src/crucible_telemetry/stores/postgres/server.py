"""A PostgreSQL server as a keep sees it: connections that come back, errors as ours.

A keep's writing connection holds a session's advisory lock for as long as it lives, and an experiment says
by whose lock it is written: the server lets go of it when the session dies, wherever its process was.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio

from crucible_telemetry.errors import (
    ConfigurationError,
    StoreDamaged,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from crucible_telemetry.stores.postgres.address import Address

T = TypeVar("T")

CONNECT_S: Final = 10.0
COMMAND_S: Final = 60.0
"""A server that says nothing for so long is away."""
LONG_S: Final = 600.0
"""The same for what may be large: a COPY, a deletion."""

_ALIVE: Final = {
    "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}  # fmt: skip
"""How soon a server notices that our machine is gone, and lets go of the lock: half a minute. Its own default is
two hours, and as long would the experiments seem to run."""

_FIND: Final = """SELECT set_config('search_path', concat_ws(', ', $1::text,
  (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
   WHERE e.extname = 'timescaledb')), false)"""
"""The functions of TimescaleDB are found, whatever schema they were put in; nothing else but our own tables is."""

LOCKED: Final = """EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid::bigint = {key} >> 32 AND l.objid::bigint = {key} & 4294967295)"""
"""Whether a session holds the advisory lock `key`, an SQL expression."""

_AWAY: Final = ("08", "25", "40", "53", "55", "57", "58", "XX000")
"""Classes of SQLSTATE that a later try may get over: connection, read-only, conflict, resources, locks, shutdown,
system; and internal errors, which extensions raise of what two sessions do at once."""


_COMING: Final = ("57P01", "57P02", "57P03")
"""SQLSTATEs of a server that ends its sessions to start anew, or does not take any yet."""


def driver() -> Any:
    """asyncpg; `ConfigurationError` names the extra where it is not installed."""
    try:
        import asyncpg  # noqa: PLC0415 - optional
    except ImportError:
        raise ConfigurationError(
            "url", "postgresql:// needs asyncpg: install crucible-telemetry[postgres]"
        ) from None
    return asyncpg


def translated(shown_url: str, error: Exception) -> StoreError:
    """An error of asyncpg or of the network as one of ours."""
    state = getattr(error, "sqlstate", None)
    said = f"{error}" or type(error).__name__
    if isinstance(error, ValueError):  # of the URL or of a value: the same the next time
        return StoreRefused(shown_url, f"is not what asyncpg takes: {said}")
    if isinstance(error, OSError):
        return StoreUnavailable(shown_url, f"cannot be reached: {_in_words(error)}")
    if state is None or state.startswith(_AWAY):
        return StoreUnavailable(shown_url, said)
    if state.startswith("XX"):
        return StoreDamaged(shown_url, said)
    if state == "23505":
        said = f"another lab writes the same experiment: {said}"
    return StoreRefused(shown_url, said)


def _in_words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    # What asyncio says names the address; only the system's own words may be without.
    return f"{error}".partition("] ")[2] or f"{error}" or type(error).__name__


class Connection:
    """One connection that is made when it is needed, and again after it was lost; one use at a time."""

    def __init__(self, address: Address, *, lock: int | None = None) -> None:
        self._address, self._lock = address, lock
        self._open: Any = None
        self._one: anyio.Lock | None = None  # made on the loop that uses it

    async def first_use(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """As `use`, asked again for a while when the server says that it is starting or recovering."""
        with anyio.move_on_after(CONNECT_S):
            while True:
                try:
                    return await self.use(work)
                except StoreUnavailable as error:
                    if getattr(error.__cause__, "sqlstate", None) not in _COMING:
                        raise
                await anyio.sleep(0.1)
        return await self.use(work)

    async def use(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """`work` with the connection; `StoreError` when it cannot be done, and then the connection is dropped."""
        if self._one is None:
            self._one = anyio.Lock()
        errors = driver()
        async with self._one:
            try:
                return await work(await self._connected())
            except StoreError:
                raise
            except (
                errors.PostgresError,
                errors.InterfaceError,
                errors.InternalClientError,
                OSError,
                ValueError,
            ) as error:
                ours = translated(self._address.shown, error)
                if isinstance(ours, StoreUnavailable):
                    self.drop()
                raise ours from error
            except BaseException:
                self.drop()  # cancelled in the middle: nobody knows what it would answer next
                raise

    async def _connected(self) -> Any:
        if self._open is None or self._open.is_closed():
            self._open = None
            self._open = await self._made()
        return self._open

    async def _made(self) -> Any:
        """A new one; none that lacks the lock."""
        address = self._address
        made = await driver().connect(
            address.dsn,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings={
                "search_path": address.quoted_schema,
                "application_name": "crucible_telemetry",
                "jit": "off",
                **_ALIVE,
            },
        )
        try:
            await made.fetchval(_FIND, address.quoted_schema)
            if self._lock is not None:
                await _hold(made, self._lock, address.shown)
        except BaseException:
            made.terminate()
            raise
        return made

    def drop(self) -> None:
        """End it without a word."""
        dropped, self._open = self._open, None
        if dropped is not None and not dropped.is_closed():
            dropped.terminate()

    async def close(self) -> None:
        """End it in good order, or without a word when the server does not answer."""
        closing, self._open = self._open, None
        if closing is None or closing.is_closed():
            return
        try:
            await closing.close(timeout=2.0)
        except (driver().PostgresError, driver().InterfaceError, OSError, TimeoutError):
            closing.terminate()


async def _hold(connection: Any, key: int, shown_url: str) -> None:
    """Take the lock; a session of ours that the server does not know to be dead yet is ended."""
    for _ in range(20):
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
            return
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
            " AND classid::bigint = $1::bigint >> 32 AND objid::bigint = $1::bigint & 4294967295",
            key,
        )
        await anyio.sleep(0.1)
    raise StoreUnavailable(shown_url, "an earlier session of this lab has not ended yet")


def new_lock() -> int:
    """A number for a keep's lock, unlike any other's."""
    return secrets.randbits(62) | 1 << 62
