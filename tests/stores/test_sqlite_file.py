"""Transactions on a lab's SQLite file."""

import threading
import time
from itertools import pairwise

import apsw
import pytest

from crucible_telemetry.stores.sqlite_file import transaction

BLOB = bytes(4_000_000)


@pytest.fixture
def connection(tmp_path):
    connection = apsw.Connection(str(tmp_path / "t.db"))
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    connection.execute("CREATE TABLE t (data)")
    yield connection
    connection.close()


def count(connection):
    return connection.execute("SELECT count(*) FROM t").get


def inserting(connection, *statements):
    with transaction(connection):
        for statement in statements:
            connection.execute(statement)


def test_what_an_error_breaks_off_leaves_nothing_behind(connection):
    with pytest.raises(apsw.SQLError, match="no such table"):
        inserting(connection, "INSERT INTO t VALUES (1)", "INSERT INTO nowhere VALUES (1)")
    assert (count(connection), connection.in_transaction) == (0, False)
    inserting(connection, "INSERT INTO t VALUES (1)")
    assert count(connection) == 1


def test_the_error_of_a_transaction_that_sqlite_has_ended_itself_comes_through(connection):
    connection.execute("CREATE TABLE u (n UNIQUE ON CONFLICT ROLLBACK)")
    with pytest.raises(apsw.ConstraintError):
        inserting(connection, "INSERT INTO t VALUES (1)", *["INSERT INTO u VALUES (1)"] * 2)
    assert (count(connection), connection.in_transaction) == (0, False)


def committed(connection):
    """(how long a large commit took, the longest time another thread stood still meanwhile), seconds."""
    span = []

    def write():
        with transaction(connection):
            for _ in range(4):
                connection.execute("INSERT INTO t VALUES (?)", (BLOB,))
            span.append(time.perf_counter())
        span.append(time.perf_counter())

    writing = threading.Thread(target=write)
    writing.start()
    looks = []
    while writing.is_alive():
        looks.append(time.perf_counter())
    began, ended = span
    looks = [began, *(at for at in looks if began < at < ended), ended]
    stood = max(b - a for a, b in pairwise(looks))
    return ended - began, stood


def test_a_commit_lets_other_threads_run(connection):
    shares = []
    for _ in range(8):  # another program may have the processor for a while, but not each time
        took, stood = committed(connection)
        shares.append(stood / took)
        if shares[-1] < 0.6:
            return
    pytest.fail(f"another thread stood still for these shares of a commit: {shares}")
