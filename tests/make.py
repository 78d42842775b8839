"""Test data that many tests share."""

import dataclasses
import datetime as dt
import decimal
import enum
import math
import types
from collections import OrderedDict, UserDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from crucible_telemetry.collect.words import Vocabulary
from crucible_telemetry.events.columns import DTYPES, ENDS, FILL, LLM, Columns, Payload
from crucible_telemetry.events.event import Event, Identity, Outcome
from crucible_telemetry.events.shape import Shape


def columns(n: int, first_seq: int = 1, **given: Any) -> Columns:
    """`n` rows: ends of llm operations that went well, a microsecond apart, unless said otherwise.

    Arrays may be given by column name, as scalars or sequences; optional ones are absent by default.
    The payload of row `i` is its seq as text.
    """
    defaults: dict[str, Any] = {
        "timestamp_us": np.arange(first_seq, first_seq + n) + 1_700_000_000_000_000,
        "shape": 1,
        "flags": ENDS | LLM,
        "outcome": Outcome.OK,
        "model": 0,
        "trial": 0,
        "error": 0,
    }
    arrays = {
        name: np.array(np.broadcast_to(value, (n,)), DTYPES[name])
        for name, value in {**defaults, **given}.items()
        if value is not None
    }
    assert set(given) <= set(defaults) | set(FILL)
    return Columns(first_seq, Payload.of([str(first_seq + i).encode() for i in range(n)]), arrays)


class PlainShapes:
    """A table of shapes in which `k` is named ``event.k`` less a shift, and has no keys."""

    def __init__(self, shift: int = 0) -> None:
        self.by_id = PlainShapesById(shift)

    def intern(self, name: str, _numbers: Any, _words: Any) -> Shape:
        return self.by_id[int(name.removeprefix("event.") or 0) + self.by_id.shift]


class PlainShapesById(dict[int, Shape]):
    def __init__(self, shift: int) -> None:
        self.shift = shift

    def __missing__(self, number: int) -> Shape:
        return Shape(number, f"event.{number - self.shift}", (), ())


def plain_shapes(shift: int = 0) -> PlainShapes:
    return PlainShapes(shift)


class PlainReader:
    """A Reader over `columns` made above: shape `k` is named ``event.k``, model `m` is ``model-m``.

    With a `shift` the shape is ``k + shift``: as in another process, which met other shapes first.
    """

    condition = "default"
    tags = ("t",)

    def keys(self, shape: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return ("seq",), ()

    def identity(self, trial: int) -> Identity:
        return (f"item-{trial}" if trial else None, *[None] * 5)

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift
        self.models: Vocabulary[Any] = Vocabulary((None, None), (None, None))
        self.errors: Vocabulary[str] = Vocabulary("", "")

    def name(self, shape: int) -> str:
        return f"event.{shape - self.shift}"

    def model(self, model: int) -> tuple[str | None, str | None]:
        return ("provider", f"model-{model}") if model else (None, None)

    def error(self, error: int) -> str:
        return f"Error{error}"

    def shape_number(self, name: str, _numbers: Any, _words: Any) -> int:
        return int(name.removeprefix("event.")) + self.shift

    def model_number(self, _provider: str | None, model: str | None) -> int:
        return int((model or "model-0").removeprefix("model-"))

    def error_number(self, error: str) -> int:
        return int(error.removeprefix("Error"))

    def trial_number(self, trial: int, _identity: Identity) -> int:
        return trial

    def row_name(self, columns: Columns, index: int) -> str:
        return self.name(int(columns.shape[index]))

    def fields(self, columns: Columns) -> dict[str, Any]:
        """None, unless a subclass knows some."""
        return {}

    def events(self, columns: Columns, indices: Sequence[int]) -> list[Event]:
        return [self._event(columns, int(i)) for i in indices]

    def _event(self, columns: Columns, i: int) -> Event:
        outcome = Outcome(int(columns.outcome[i]))
        latency = None if columns.latency_ns is None else int(columns.latency_ns[i])
        return Event(
            seq=columns.first_seq + i,
            event_id=columns.payload[i].decode(),
            timestamp_us=int(columns.timestamp_us[i]),
            event_name=self.row_name(columns, i),
            measurements={"seq": columns.first_seq + i},
            metadata={},
            experiment_id="e",
            experiment_name="e",
            condition=self.condition,
            tags=self.tags,
            sample_id=self.identity(int(columns.trial[i]))[0],
            latency_ms=None if latency is None or latency < 0 else latency / 1e6,
            success=outcome.success,
            outcome=outcome.label,
            provider=self.model(int(columns.model[i]))[0],
            model=self.model(int(columns.model[i]))[1],
        )


# -- what users put into events all the same ----------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Raising:
    def __repr__(self):
        raise RuntimeError("no")


@dataclasses.dataclass
class Point:
    x: int


def deep(levels: int) -> Any:
    value = "bottom"
    for _ in range(levels):
        value = [value]
    return value


def cycle() -> Any:
    value = {}
    value["left"] = value["right"] = [value, value]
    return value


KEPT: dict[str, tuple[Any, Any]] = {
    "inf": (math.inf, math.inf),
    "minus inf": (-math.inf, -math.inf),
    "smallest": (5e-324, 5e-324),
    "largest": (1e308, 1e308),
    "2**63": (2**63, 2**63),
    "true": (True, True),
    "none": (None, None),
    "nul": ("a\0b", "a\0b"),
    "empty": ("", ""),
    "decimal": (decimal.Decimal("0.5"), 0.5),
    "date": (dt.date(2020, 1, 2), "2020-01-02"),
    "time": (dt.datetime(2020, 1, 2, tzinfo=dt.UTC), "2020-01-02T00:00:00+00:00"),
    "enum": (Colour.RED, "red"),
    "dataclass": (Point(3), {"x": 3}),
    "numpy integer": (np.int32(7), 7),
    "numpy float": (np.float64(0.25), 0.25),
    "numpy bool": (np.bool_(True), True),  # noqa: FBT003
    "numpy array": (np.arange(3), [0, 1, 2]),
    "tuple": ((1, 2), [1, 2]),
    "mapping": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "user dict": (UserDict(a=1), {"a": 1}),
    "ordered": (OrderedDict(a=1), {"a": 1}),
}

ODD: dict[str, Any] = {
    "10**400": 10**400,
    "minus 10**400": -(10**400),
    "surrogate": "a\ud800b",
    "bytes": b"\xff\x00",
    "object": object(),
    "raising": Raising(),
    "cycle": cycle(),
    "deep": deep(100_000),
    "deep 65": deep(65),
    "class": Raising,
    "function": deep,
    "generator": (n for n in ()),
    "set": {1, 2},
    "odd keys": {1: "a", (2, 3): "b", None: "c", "\ud800": "d"},
    "key of a megabyte": {"k" * 2**20: 1},
    "empty key": {"": 1},
    "array of objects": np.array([object(), None]),
    "large array": np.zeros(100_000),
    "error": ValueError("no"),
    "nan in depth": [{"x": math.nan}],
}
"""Values that are kept as marks, as text or cut; F11."""
ODD |= {
    "nan": math.nan,
    "minus zero": -0.0,
    "beyond float": 1e400,
    "2**64": 2**64,
    "minus 2**63 - 1": -(2**63) - 1,
    "decimal nan": decimal.Decimal("NaN"),
    "signalling nan": decimal.Decimal("sNaN"),
    "huge decimal": decimal.Decimal("1e400"),
    "complex": 1j,
    "numpy nan": np.float32("nan"),
    "numpy time": np.datetime64("2020-01-02"),
    "long double": np.longdouble("1e4000"),
    "text of a megabyte": "x" * 2**20,
    "text of controls": "\x00\x1b[31m\r\n\u2028\u202e",
    "formula": "=1+1",
}

HARD_VALUES: dict[str, Any] = {kind: value for kind, (value, _) in KEPT.items()} | ODD
"""Everything of F11 by name: for exports and stores too, which must give the same answer."""
