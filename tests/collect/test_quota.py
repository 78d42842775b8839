"""Admission closes at N started; those in flight end."""

from crucible_telemetry.collect.quota import Quota


def test_a_trial_once_admitted_may_emit_for_ever_and_the_next_may_not():
    quota = Quota(2)
    assert quota.admits("llm.request.start", 7, starts=True)
    assert quota.admits("llm.request.start", 8, starts=True)
    assert not quota.admits("llm.request.start", 9, starts=True)
    assert all(quota.admits("x", 7, starts=False) for _ in range(10))


def test_without_trials_operations_count_and_other_events_do_not():
    quota = Quota(2)
    assert all(quota.admits("log.line", 0, starts=False) for _ in range(5))
    assert quota.admits("a.stop", 0, starts=False)
    assert quota.admits("b", 0, starts=True)
    assert quota.spent
    assert not quota.admits("log.line", 0, starts=False)


def test_once_an_llm_call_was_seen_only_llm_calls_count():
    quota = Quota(2)
    assert quota.admits("a.stop", 0, starts=False)
    assert quota.admits("llm.request.start", 0, starts=True)
    assert quota.admits("a.stop", 0, starts=False)
    assert quota.operations == 1
    assert quota.admits("llm.request.start", 0, starts=True)
    assert quota.spent
