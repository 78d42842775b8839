"""Hypothesis strategies that many tests share."""

import datetime
import decimal
import enum
import math

import numpy as np
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
"""What JSON can say, and msgpack keeps as it is."""


class Colour(enum.Enum):
    """An enum whose values are of several types."""

    RED = "red"
    HALF = 0.5
    PAIR = (1, 2)
    HUGE = 10**30


class Opaque:
    """Nobody knows how to write it down."""

    def __repr__(self):
        return "<opaque>"


class Hostile:
    """Raises whatever is asked of it."""

    def __repr__(self):
        raise ValueError("no repr")

    def __len__(self):
        raise ValueError("no length")

    def __eq__(self, other):
        raise ValueError("no equality")

    __hash__ = object.__hash__

    @property
    def tolist(self):
        raise ValueError("no list")


def circular(kind):
    """A list or dict that holds itself twice."""
    if kind is list:
        box = [1]
        box += [box, box]
        return box
    box = {"n": 1}
    box |= {"a": box, "b": box}
    return box


def nested(depth):
    """Lists in lists."""
    value = [1]
    for _ in range(depth):
        value = [value]
    return value


ODD = st.one_of(
    st.floats(),
    st.integers(-(10**40), 10**40),
    st.binary(max_size=20),
    st.text(st.characters(), max_size=10),
    st.sampled_from(["\ud800", "a\x00b", 10**400, -0.0, 5e-324, 1e308, math.nan, math.inf]),
    st.sampled_from(list(Colour)),
    st.decimals(),
    st.fractions(),
    st.datetimes(),
    st.datetimes(timezones=st.just(datetime.UTC)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.complex_numbers(),
    st.builds(np.float32, st.floats(width=32)),
    st.builds(np.int64, st.integers(-(2**63), 2**63 - 1)),
    st.builds(np.bool_, st.booleans()),
    st.builds(np.longdouble, st.floats()),
    st.lists(st.floats(), max_size=5).map(np.array),
    st.builds(lambda: decimal.Decimal("1e400")),
    st.builds(Opaque),
    st.builds(Hostile),
    st.builds(ValueError, st.text(st.characters(), max_size=5)),
    st.sampled_from([list, dict]).map(circular),
    st.sampled_from([60, 70, 300]).map(nested),
    st.sets(st.integers(), max_size=3),
    st.sampled_from([int, len, Opaque, range(3), memoryview(b"x"), bytearray(b"y"), object()]),
)
"""What users put into events all the same."""

ODD_KEY = st.one_of(
    st.text(st.characters(), max_size=8), st.integers(), st.none(), st.booleans(), st.tuples()
)
ANYTHING = st.recursive(
    JSON | ODD,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(ODD_KEY, inner, max_size=3)
    ),
    max_leaves=8,
)
