"""The queue: what is appended stays until it is removed, and nobody waits for a wake-up that was lost.

The wake-up protocol is explored whole: the real `attend` and `sleep`, cut into single statements, run in
every order that two emitters and a collector can take.
"""

import ast
import inspect
import textwrap

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.events.mailbox import Attendant, Gate, Mailbox, Tally


class FakeAttendant(Attendant):
    """Notes what it was asked; `awake` is the flag a collector would wait for."""

    def __init__(self):
        self.awake = False
        self.woken = self.hurried = self.swept = self.drops = 0

    def wake(self):
        self.awake = True
        self.woken += 1

    def hurry(self):
        self.hurried += 1

    def sweep(self):
        self.swept += 1

    def dropped(self):
        self.drops += 1


def mailbox(**options):
    return Mailbox(FakeAttendant(), **options)


def stepwise(method, mutation=("", "")):
    """A method as a generator that stops before each of its statements."""
    source = textwrap.dedent(inspect.getsource(method))
    old, new = mutation
    assert old in source
    tree = ast.parse(source.replace(old, new) if old else source)
    _cut(tree.body[0])
    names = {}
    exec(compile(ast.fix_missing_locations(tree), "stepwise", "exec"), names)
    return names[method.__name__]


def _cut(node):
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        if isinstance(statements, list):
            cut = []
            for statement in statements:
                _cut(statement)
                shares = any(word in ast.unparse(statement) for word in (".rows", ".mark", ".wake"))
                cut += [ast.Expr(ast.Yield(ast.Constant(None)))] * shares + [statement]
            setattr(node, field, cut)


class Run:
    """Two emitters of `count` rows each and a collector, moved a statement at a time."""

    def __init__(self, attend, sleep, count, batch_rows):
        self.box = mailbox(capacity=64, batch_rows=batch_rows)
        self.taken = 0
        self._attend, self._sleep = attend, sleep
        self.actors = [self.emitter(count), self.emitter(count), self.collector()]
        self.ended = [False, False, False]
        self.waits = False

    def emitter(self, count):
        box = self.box
        for _ in range(count):
            yield
            box.append(b"row")
            yield
            length = len(box.rows)
            yield
            if length > box.mark:
                yield from self._attend(box)

    def collector(self):
        box = self.box
        while True:
            if (yield from self._sleep(box)):
                self.waits = True
                while not box.attendant.awake:
                    yield
                self.waits = False
            yield
            box.attendant.awake = False
            while len(box):
                yield
                count = len(box)
                yield
                box.remove(box.rows[0] + count)
                self.taken += count

    def step(self, which):
        try:
            next(self.actors[which])
        except StopIteration:
            self.ended[which] = True

    def can(self, which):
        asleep = which == 2 and self.waits and not self.box.attendant.awake
        return not self.ended[which] and not asleep

    @property
    def state(self):
        places = tuple(_place(actor) for actor in self.actors)
        box = self.box
        return places, tuple(box.rows), box.mark, box.attendant.awake, self.waits

    @property
    def stuck(self):
        """Nobody can move, and rows are waiting."""
        return not any(map(self.can, range(3))) and len(self.box) > 0


def _place(actor):
    """Where a generator stands, with its locals, down to the innermost."""
    found = []
    while actor is not None and getattr(actor, "gi_frame", None) is not None:
        frame = actor.gi_frame
        values = {k: v for k, v in frame.f_locals.items() if isinstance(v, (int, bool))}
        found.append((frame.f_lasti, tuple(sorted(values.items()))))
        actor = actor.gi_yieldfrom
    return tuple(found)


def explore(attend, sleep, count=1, batch_rows=1):
    """(states seen, a schedule that ends with rows waiting and nobody woken, or None)."""
    seen, waiting = set(), [()]
    while waiting:
        schedule = waiting.pop()
        run = Run(attend, sleep, count, batch_rows)
        for which in schedule:
            run.step(which)
        if run.state in seen:
            continue
        seen.add(run.state)
        if run.stuck:
            return len(seen), schedule
        waiting += [(*schedule, which) for which in range(3) if run.can(which)]
    return len(seen), None


@pytest.mark.parametrize(("count", "batch_rows"), [(1, 1), (1, 4), (2, 1)])
def test_f17_no_order_of_steps_leaves_rows_waiting_and_nobody_woken(count, batch_rows, request):
    if count > 1 and not request.config.getoption("--deep"):
        pytest.skip("two rows each take half a minute: --deep 1")
    states, stuck = explore(
        stepwise(Mailbox.attend), stepwise(Mailbox.sleep), count=count, batch_rows=batch_rows
    )
    assert stuck is None
    assert states > 100


RAISE = "self.mark = self.batch_rows if waiting < self.batch_rows else self.capacity"
WAKE = "self.attendant.wake()"


@pytest.mark.parametrize(
    ("attend", "sleep"),
    [
        # The collector looks before it lowers the mark.
        (("", ""), ("self.mark = 1\n    return len(self.rows) == 1",
                    "empty = len(self.rows) == 1\n    self.mark = 1\n    return empty")),
        # The collector does not lower the mark at all.
        (("", ""), ("self.mark = 1", "pass")),
        # The wake-up comes before the mark.
        ((RAISE + "\n    " + WAKE, WAKE + "\n    " + RAISE), ("", "")),
        # Only who finds a low mark wakes.
        (("self.attendant.wake()", "self.mark <= 1 and self.attendant.wake()"), ("", "")),
        # Nobody is woken.
        (("self.attendant.wake()", "pass"), ("", "")),
    ],
)  # fmt: skip
def test_f17_the_exploration_finds_each_way_to_lose_a_wake_up(attend, sleep):
    _, stuck = explore(stepwise(Mailbox.attend, attend), stepwise(Mailbox.sleep, sleep))
    assert stuck is not None


@given(steps=st.lists(st.one_of(st.none(), st.integers(-3, 12)), max_size=40))
def test_what_was_accepted_is_what_has_left_and_what_waits(steps):
    box = mailbox()
    model, gone, accepted = [], 0, 0
    for step in steps:
        if step is None:
            box.append(b"%d" % accepted)
            model.append(b"%d" % accepted)
            accepted += 1
        else:
            upto = min(gone + step, accepted)
            box.remove(upto)
            box.remove(upto)
            if upto > gone:
                model, gone = model[upto - gone :], upto
        assert box.rows[1:] == model
        assert (box.rows[0], len(box), box.accepted) == (gone, len(model), accepted)
        assert box.accepted == box.rows[0] + len(box)


def test_the_list_of_rows_is_one_list_for_ever():
    box = mailbox()
    rows, append = box.rows, box.append
    append(b"a")
    box.remove(1)
    append(b"b")
    assert box.rows is rows
    assert rows == [1, b"b"]


def test_offering_to_a_gate_counts_why_and_takes_nothing():
    for gate in Gate:
        box = mailbox()
        box.gate = gate
        assert box.slow
        assert box.offer(b"row") is False
        assert (len(box), box.refusals[gate].value, box.ticks.value) == (0, 1, 1)


@pytest.mark.parametrize(
    ("gate", "taken"), [(None, 1), (Gate.SKIPPED, 1), (Gate.LATE, 0), (Gate.REFUSED, 0)]
)
def test_the_end_of_a_span_that_began_before_a_pause_is_taken(gate, taken):
    box = mailbox()
    box.gate = gate
    box.offer(b"row", began=True)
    assert len(box) == taken


def test_a_full_mailbox_says_so_by_rows_and_by_bytes():
    box = mailbox(capacity=2)
    assert [box.offer(b"row") for _ in range(3)] == [False, True, True]
    box.remove(3)
    assert not box.full
    heavy = mailbox(capacity_bytes=3000)
    for _ in range(4):
        heavy.offer(b"x" * 1000)
    assert heavy.full
    heavy.remove(1)
    assert not heavy.full
    assert heavy.large_bytes == 3000


def test_drop_newest_drops_counts_and_tells_once():
    box = mailbox(capacity=2)
    box.dropping = True
    box.settle()
    for _ in range(5):
        box.offer(b"row")
    assert (len(box), box.refusals["dropped"].value, box.ticks.value) == (2, 3, 5)
    assert box.attendant.drops == 1


def test_a_closed_mailbox_has_late_rows_swept():
    box = mailbox()
    box.closed, box.mark = True, 0
    box.append(b"row")
    assert box.attend() is False
    assert (box.attendant.swept, box.attendant.woken) == (1, 0)


def test_one_wake_up_serves_a_batch_and_a_batch_cuts_lingering_short():
    box = mailbox(capacity=100, batch_rows=10)
    for _ in range(50):
        box.offer(b"row")
    assert (box.attendant.woken, box.attendant.hurried) == (2, 1)
    assert box.peak == 10


def test_a_tally_counts_what_is_added_and_reading_adds_nothing():
    tally = Tally()
    for _ in range(3):
        tally.add()
    assert [tally.value, tally.value] == [3, 3]
