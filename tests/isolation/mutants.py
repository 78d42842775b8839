"""Deliberate faults, each a way in which a library like this one has been or could be wrong.

A mutant is a function that is handed `patch(target, name, value)`; the check must find it.
"""

import contextvars
import copy
import sys
import threading

from msgspec.structs import replace

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.progress import advanced
from crucible_telemetry.events import bind as bind_module, bus, instrument, scope, span
from crucible_telemetry.events.mailbox import Gate, Mailbox
from crucible_telemetry.events.routes import Routes
from crucible_telemetry.events.scope import Scope, current_scope
from crucible_telemetry.experiment import Experiment, ExperimentScope
from crucible_telemetry.stores.memory import MemoryStore

MUTANTS = []


def mutant(fn):
    MUTANTS.append(fn)
    return fn


class _Holder:
    """A variable with the manners of a ContextVar and none of its worth."""

    def __init__(self, place):
        self.place = place

    def get(self):
        return getattr(self.place, "scope", None)

    def set(self, value):
        before, self.place.scope = self.get(), value
        return before

    reset = set  # noqa: A003 - the method above, not the builtin


def _everywhere(patch, old, new):
    for name, module in list(sys.modules.items()):
        if name.startswith("crucible_telemetry"):
            for key, value in list(vars(module).items()):
                if value is old:
                    patch(module, key, new)
    if old is current_scope:
        patch(bus, "_current", new.get)


@mutant
def a_global_scope(patch):
    _everywhere(patch, current_scope, _Holder(type("Place", (), {})()))


@mutant
def a_thread_local_scope(patch):
    _everywhere(patch, current_scope, _Holder(threading.local()))


@mutant
def a_scope_leaked_by_a_generator(patch):
    patch(instrument, "leave", lambda _: True)


@mutant
def a_stream_in_the_scope_of_its_reader(patch):
    patch(instrument, "current_scope", _Holder(type("Nowhere", (), {})()))


@mutant
def leaving_a_nested_scope_leads_outside_all(patch):
    def leave(_):
        current_scope.set(None)
        return True

    _everywhere(patch, scope.leave, leave)


@mutant
def leaving_leaves_nothing(patch):
    patch(ExperimentScope, "__exit__", lambda *_: None)


@mutant
def a_shared_scope_leaves_who_came_last(patch):
    patch(ExperimentScope, "_entered_here", lambda self: self._scopes.pop())


@mutant
def bind_forgets_the_scope(patch):
    patch(bind_module, "copy_context", contextvars.Context)


@mutant
def bind_shares_one_context(patch):
    class Shared:
        def __init__(self):
            self.real = real()

        def copy(self):
            return self.real

    real = bind_module.copy_context
    patch(bind_module, "copy_context", Shared)


@mutant
def a_span_ends_in_the_scope_of_the_moment(patch):
    real = span.Span.finish

    def finish(self, error=None):
        here = current_scope.get()
        self.box = None if here is None else here.box
        return real(self, error)

    patch(span.Span, "finish", finish)


@mutant
def an_event_of_a_stopped_experiment_goes_to_the_one_around_it(patch):
    real = bus._emit_wide

    def emit_wide(place, *event):
        while place is not None and place.box is not None and place.box.gate is Gate.LATE:
            place = place.outer
        return real(place, *event)

    patch(bus, "_emit_wide", emit_wide)


@mutant
def a_scope_hides_its_events_from_process_wide_experiments(patch):
    real = Routes.find

    def find(self, name):
        here = current_scope.get()
        boxes, entries = real(self, name)
        return (() if here is not None and here.box is not None else boxes), entries

    patch(Routes, "find", find)


@mutant
def users_code_in_a_drain_runs_in_the_emitters_scope(patch):
    class Kept:
        get, set, reset = (
            current_scope.get,
            staticmethod(lambda _: None),
            staticmethod(lambda _: None),
        )

    patch(sys.modules[Collector.__module__], "current_scope", Kept())


@mutant
def a_trial_outlives_the_change_of_experiment(patch):
    def enter(self):
        outer = current_scope.get()
        trial = 0 if outer is None else outer.trial
        self._scopes.append(Scope(self._collector.box, trial, None, None, outer))
        current_scope.set(self._scopes[-1])
        return self

    patch(ExperimentScope, "__enter__", enter)


# -- accounting -------------------------------------------------------------------------------


@mutant
def a_lost_wake_up(patch):
    def attend(self):
        self.mark = self.batch_rows  # as if the collector were awake already
        return self.full

    patch(Mailbox, "attend", attend)


@mutant
def the_mark_is_not_lowered_before_sleeping(patch):
    patch(Mailbox, "sleep", lambda self: len(self.rows) == 1)


@mutant
def nobody_who_waits_for_room_is_told(patch):
    patch(Collector, "release", lambda _: None)


@mutant
def a_batch_replayed_after_a_crash(patch):
    real = MemoryStore.append

    def append(self, columns):
        if columns.first_seq <= self.last_seq:  # it has them already, and takes them as new
            columns = copy.copy(columns)
            columns.first_seq = self.last_seq + 1
        real(self, columns)

    patch(MemoryStore, "append", append)


@mutant
def a_batch_counted_before_it_is_stored(patch):
    def commit(self, prepared, progress):
        self.progress = advanced(progress, prepared, self.reader)
        if prepared.columns is not None:
            self.store.append(prepared.columns)

    patch(Collector, "_commit", commit)


@mutant
def a_batch_dropped_by_a_crash(patch):
    real = Collector._commit

    def commit(self, prepared, progress):
        try:
            real(self, prepared, progress)
        except RuntimeError:
            self.progress = replace(progress, consumed=progress.consumed + prepared.taken)
            raise

    patch(Collector, "_commit", commit)


@mutant
def a_late_append_after_stop(patch):
    real = Mailbox.offer

    def offer(self, row, **began):
        if self.gate is not Gate.LATE:
            return real(self, row, **began)
        self.append(row)
        self.tick()
        self.attendant.drain_all()
        return False

    patch(Mailbox, "offer", offer)


@mutant
def stopping_leaves_the_gate_open(patch):
    def freeze(self):
        before = self.state
        after = self._life.move("stop", 0, 0)
        if after is not before:
            self._collector.drain_all()
        return after is not before

    patch(Experiment, "_freeze", freeze)


@mutant
def late_events_are_not_counted(patch):
    real = Mailbox.refuse
    patch(Mailbox, "refuse", lambda self, gate: None if gate == Gate.LATE else real(self, gate))


@mutant
def a_counter_bumped_twice(patch):
    real = Mailbox.offer

    def offer(self, row, **began):
        self.tick()
        return real(self, row, **began)

    patch(Mailbox, "offer", offer)


@mutant
def removing_takes_one_more(patch):
    def remove(self, upto):
        rows = self.rows
        count = upto - rows[0]
        if count > 0:
            rows[: count + 2] = [upto]

    patch(Mailbox, "remove", remove)


@mutant
def the_list_of_rows_is_swapped(patch):
    def remove(self, upto):
        count = upto - self.rows[0]
        if count > 0:
            self.rows = [upto, *self.rows[count + 1 :]]

    patch(Mailbox, "remove", remove)


@mutant
def unheard_events_vanish(patch):
    patch(bus, "_unheard", lambda _: None)


@mutant
def a_batch_comes_in_reverse(patch):
    real = Collector._batch

    def batch(self, limit):
        rows = self.box.rows
        rows[1:] = rows[:0:-1]
        return real(self, limit)

    patch(Collector, "_batch", batch)
