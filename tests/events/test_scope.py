"""Scopes end where they began, whatever was left open inside."""

from contextvars import copy_context

from crucible_telemetry.events.scope import (
    Scope,
    current_scope,
    enter,
    leave,
    mix,
    new_id,
    trace_hex,
)


def scope(outer=None):
    return Scope(None, 0, None, None, outer)


def in_fresh_context(fn):
    return copy_context().run(fn)


def test_leaving_goes_back_to_what_was_outside():
    def run():
        outer = scope()
        enter(outer)
        inner = scope(outer)
        enter(inner)
        assert leave(inner)
        assert current_scope.get() is outer
        assert leave(outer)
        assert current_scope.get() is None

    in_fresh_context(run)


def test_leaving_an_outer_scope_ends_those_inside_and_says_so():
    def run():
        outer = scope()
        enter(outer)
        enter(scope(outer))
        assert not leave(outer)
        assert current_scope.get() is None

    in_fresh_context(run)


def test_leaving_where_it_is_not_open_changes_nothing():
    def run():
        mine = scope()
        enter(mine)
        assert not leave(scope())
        assert current_scope.get() is mine

    in_fresh_context(run)


def test_ids_differ_and_fit_a_signed_64_bit_integer():
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(0 <= each < 2**63 for each in ids)


def test_a_trace_begun_here_has_32_digits_and_one_from_elsewhere_keeps_its_own():
    assert len(trace_hex(5)) == 32
    assert trace_hex(5) != trace_hex(6)
    assert trace_hex("ab" * 16) == "ab" * 16
    assert len({mix(n) for n in range(1000)}) == 1000
