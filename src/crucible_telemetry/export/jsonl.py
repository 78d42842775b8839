"""JSON Lines: one event a line, nested as it was emitted. PURE.

A line has the fields of `Event` that are not None; ``ends``, ``llm``, ``wraps``, ``marked``, ``rank`` where they
hold (what the event counts as, see `events.columns`); ``encoded`` where JSON lacks a word (see `words`); and
``exact``, the integers, for the rare figure whose milliseconds or dollars do not lead back to them.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import asdict

from crucible_telemetry.events.event import Event
from crucible_telemetry.export.columns import counted_as, exact_figures
from crucible_telemetry.export.walk import Slice
from crucible_telemetry.export.words import sayable

_MAX: Final = 1.7976931348623157e308
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


def _plain_rows() -> "msgspec.msgpack.Decoder[Any]":
    """Takes rows that JSON can say as they are: no bytes, no NaN, keys that are texts; in C, 0.3 µs a row."""
    flat: Any = None | bool | int | Annotated[float, msgspec.Meta(ge=-_MAX, le=_MAX)] | str
    inner: Any = flat | list[flat] | dict[str, flat]
    return msgspec.msgpack.Decoder(list[list[flat | list[inner] | dict[str, inner]]])


_PLAIN: Final = _plain_rows()
_TAILS: Final = [
    b"," * bool(said := counted_as(flags)) + (_encode(said)[1:] + b"\n") for flags in range(256)
]


def lines(some: Slice) -> bytes:
    """The events of a slice as lines."""
    flags = some.columns.flags[some.rows].tolist()
    if _is_plain(some):
        try:
            encoded = map(_encode, some.events)
            return b"".join(
                [one[:-1] + _TAILS[bits] for one, bits in zip(encoded, flags, strict=True)]
            )
        except UnicodeEncodeError:  # names, tags and items are as users gave them
            pass
    found = exact_figures(some.columns, some.rows)
    exact = [found.get(place, {}) for place in range(len(flags))]
    return b"".join(map(_careful, some.events, flags, exact))


def _is_plain(some: Slice) -> bool:
    rows = some.payload
    try:
        _PLAIN.decode(b"\xdd" + len(rows).to_bytes(4, "big") + b"".join(rows))
    except msgspec.ValidationError:
        return False
    return not exact_figures(some.columns, some.rows)


def line_fields(event: Event, flags: int, exact: dict[str, int]) -> dict[str, Any]:
    """What the line of an event says, before any word is chosen."""
    fields = {key: value for key, value in asdict(event).items() if value is not None}
    return fields | counted_as(flags) | ({"exact": exact} if exact else {})


def _careful(event: Event, flags: int, exact: dict[str, int]) -> bytes:
    return row_line(line_fields(event, flags, exact))


def row_line(fields: dict[str, Any]) -> bytes:
    """The line of any fields."""
    encoded: dict[str, str] = {}
    said = sayable(fields, "", encoded)
    return _encode(said | ({"encoded": encoded} if encoded else {})) + b"\n"
