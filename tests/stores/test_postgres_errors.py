"""What an error of a server means: to be tried again, no use, or damage."""

import asyncpg
import pytest
from asyncpg import exceptions

from crucible_telemetry.errors import StoreDamaged, StoreRefused, StoreUnavailable
from crucible_telemetry.stores.postgres.server import translated

URL = "postgresql://alice@db/runs"
MEANS = {
    StoreUnavailable: (
        asyncpg.InterfaceError("connection is closed"),
        exceptions.CannotConnectNowError("the database system is starting up"),
        exceptions.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        exceptions.TooManyConnectionsError("sorry, too many clients already"),
        exceptions.AdminShutdownError("terminating connection"),
        exceptions.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
        exceptions.DeadlockDetectedError("deadlock detected"),
        exceptions.DiskFullError("could not extend file"),
        exceptions.QueryCanceledError("canceling statement"),
        exceptions.InternalServerError("tuple concurrently updated"),
        exceptions.TargetServerAttributeNotMatched("none of the hosts match"),
        ConnectionRefusedError(111, "Connect call failed"),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError(),
    ),
    StoreRefused: (
        exceptions.InvalidPasswordError("password authentication failed"),
        exceptions.InvalidCatalogNameError("database does not exist"),
        exceptions.InsufficientPrivilegeError("permission denied"),
        exceptions.UndefinedTableError("relation does not exist"),
        exceptions.UniqueViolationError("duplicate key"),
        exceptions.ClientConfigurationError("`sslmode` parameter must be one of"),
        exceptions.NumericValueOutOfRangeError("integer out of range"),
    ),
    StoreDamaged: (
        exceptions.DataCorruptedError("invalid page in block 7"),
        exceptions.IndexCorruptedError("index is not a btree"),
    ),
}


@pytest.mark.parametrize(
    ("error", "ours"),
    [(error, ours) for ours, errors in MEANS.items() for error in errors],
    ids=repr,
)
def test_an_error_says_whether_a_later_try_may_do_and_of_which_server_it_is(error, ours):
    told = translated(URL, error)
    assert type(told) is ours
    assert str(told).startswith(f"{URL}: ")
    assert len(str(told)) > len(URL) + 5
