"""What JSON has no word for, written all the same, and read back as it was. PURE.

NaN and infinities become ``"NaN"``, ``"Infinity"``, ``"-Infinity"``, bytes become base64, keys that are integers
their digits, and a dictionary with other keys that are no texts a list of pairs. A line that holds such
values says where in ``encoded``: JSON Pointers (RFC 6901) to ``"float"``, ``"bytes"``, ``"int keys"`` or
``"pairs"``, so that a text ``"NaN"`` stays a text.
"""

import base64
import binascii
import math
from typing import Any, Final

FLOATS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def float_word(value: float) -> str:
    """The word of a NaN or an infinity."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def sayable(value: Any, pointer: str, encoded: dict[str, str]) -> Any:
    """The value with words for what JSON cannot say; `encoded` learns where, and what it was."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        encoded[pointer] = "float"
        return float_word(value)
    if kind is bytes:
        encoded[pointer] = "bytes"
        return base64.b64encode(value).decode()
    if kind is str:
        return utf8(value)
    if kind is dict:
        return _object(value, pointer, encoded)
    if kind in (list, tuple):
        return [sayable(item, f"{pointer}/{at}", encoded) for at, item in enumerate(value)]
    return value


def _object(value: dict[Any, Any], pointer: str, encoded: dict[str, str]) -> Any:
    kinds = set(map(type, value))
    if not kinds <= {str}:
        if kinds != {int}:
            encoded[pointer] = "pairs"
            return sayable([list(pair) for pair in value.items()], pointer, encoded)
        encoded[pointer] = "int keys"
    named = [(utf8(str(key)), item) for key, item in value.items()]
    return {key: sayable(item, f"{pointer}/{_token(key)}", encoded) for key, item in named}


def utf8(text: str) -> str:
    """The text with lone surrogates, which no file can hold, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _token(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def restore(fields: dict[str, Any], encoded: dict[str, Any]) -> None:
    """Put back, in place, what `sayable` replaced; ValueError or LookupError for pointers that lead nowhere."""
    if not isinstance(encoded, dict):
        raise TypeError(f"encoded: want an object, not {encoded!r}")
    for pointer, kind in reversed(encoded.items()):  # what lies inside first
        *path, last = [
            part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]
        ]
        box: Any = fields
        for key in path:
            box = box[_place(box, key)]
        box[_place(box, last)] = _restored(box[_place(box, last)], kind)


def _place(box: Any, key: str) -> Any:
    if isinstance(box, list):
        return int(key)
    if not isinstance(box, dict):
        raise TypeError(f"no {key!r} in a {type(box).__name__}")
    return key


def _hashable(key: Any) -> Any:
    """A key as it was: what JSON has as a list was a tuple."""
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def _restored(value: Any, kind: object) -> Any:
    if kind == "float":
        return FLOATS[value]
    if kind == "pairs":
        return {_hashable(key): item for key, item in value}
    if kind == "int keys":
        return {int(key): item for key, item in value.items()}
    if kind != "bytes":
        raise ValueError(f"unknown encoding {kind!r}")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error
