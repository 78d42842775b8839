r"""Values ↔ the cells of a CSV file, and nested keys ↔ its columns. PURE.

======================  =========================================================================
value                   cell
======================  =========================================================================
None, not there         nothing at all
True, False             ``true``, ``false``
int                     its digits
float                   the shortest digits that read back as it (``1.0``, ``5e-324``, ``-0.0``)
NaN, infinities         ``NaN``, ``Infinity``, ``-Infinity``
text                    itself; in quotes where it is empty or could be read as any other kind
list, empty dictionary  JSON in quotes
bytes                   ``{"crucible:bytes":"…base64…"}`` in quotes
======================  =========================================================================

What is not in quotes and no number, boolean or NaN is text too. A text that a spreadsheet could run as a
formula gets an apostrophe in front (OWASP, "CSV injection": one that begins with ``= + - @``, their full-width
forms, a tab, a carriage return or line feed, spaces and quotes before them looked through); so does one that
begins with an apostrophe, ``[`` or ``{``, which makes all of it reversible: in quotes, one leading apostrophe
is taken away. Numbers are never touched. NaN and infinities inside a list are words, and stay so.

A column is the path of its keys with dots between, ``metadata.user.name``; a dot inside a key is written ``\.``
and a backslash ``\\``. Keys that are no texts become texts.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import msgspec

from crucible_telemetry.export.words import FLOATS, float_word, sayable

MARK_BYTES: Final = "crucible:bytes"

_BARE: Final = re.compile(
    r"[A-Za-z_][A-Za-z0-9_./:;()#%&+*=-]*(?: [A-Za-z0-9_./:;()#%&+*=-]+)*"
).fullmatch
_SPECIAL: Final = frozenset({"true", "false", "nan", "inf", "infinity"})
_DELICATE: Final = re.compile(
    r"['\[{]|[\s\"'\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]"
).match
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}").fullmatch
_FLOAT: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?").fullmatch
_PIECES: Final = re.compile(r"\\.|\.|[^\\.]+|\\", re.DOTALL).findall
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines
_decode: Final = msgspec.json.Decoder().decode


def text_cell(text: str) -> str:
    """A text as a cell; see the module."""
    if _BARE(text) and text.lower() not in _SPECIAL:
        return text
    if _DELICATE(text):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"'


def cell(value: Any) -> str:
    """Any value as a cell."""
    kind = type(value)
    if kind is str:
        return text_cell(value)
    if value is None:
        return ""
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return int.__repr__(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else float_word(value)
    return _json_cell(value) if kind in (bytes, list, dict, tuple) else text_cell(str(value))


def json_text(value: Any) -> str:
    """Any value as JSON; NaN and infinities, when they stand alone, as bare words."""
    if type(value) is float and not math.isfinite(value):
        return float_word(value)
    return _encode(sayable(_bytes_marked(value), "", {})).decode()


_PLAIN: Final = frozenset({str, int, bool, type(None)})


def json_texts(values: Sequence[Any]) -> list[str | None]:
    """`json_text` of a column, and None for None; lists of plain words and whole numbers take a tenth of the time."""
    lists = [value for value in values if value is not None]
    if set(map(type, lists)) <= {list} and _PLAIN.issuperset(map(type, chain.from_iterable(lists))):
        with suppress(
            UnicodeEncodeError
        ):  # a lone surrogate, which `json_text` writes as an escape
            texts = _encode_lines(values).decode().split("\n")  # in a text it is an escape
            return [
                text if value is not None else None
                for value, text in zip(values, texts, strict=False)
            ]
    return [None if value is None else json_text(value) for value in values]


def json_value(text: str) -> Any:
    """The value of `json_text`; ValueError for what is no JSON."""
    if text in FLOATS:
        return FLOATS[text]
    try:
        return _bytes_back(_decode(text.encode()))
    except msgspec.DecodeError as error:
        raise ValueError(f"no JSON: {error}") from error


def _json_cell(value: Any) -> str:
    text = json_text(value)
    return '"' + text.replace('"', '""') + '"'


def _bytes_marked(value: Any) -> Any:
    if type(value) is bytes:
        return {MARK_BYTES: base64.b64encode(value).decode()}
    if type(value) is dict:
        return {key: _bytes_marked(item) for key, item in value.items()}
    return [_bytes_marked(item) for item in value] if type(value) in (list, tuple) else value


_ALIKE: Final = ({type(None)}, {str}, {bool}, {tuple}, {int}, {float})
"""Kinds whose equal values have equal cells, but for 0.0 and -0.0."""
_REPEATED: Final = ({str}, {bool}, {str, type(None)}, {bool, type(None)})
_TEXT: Final = {str}
_INT: Final = {int}
_DIGITS: Final = "0123456789"
_FLOATS: Final = {float}


Cells = str | list[str]
"""A column of cells, or the one that all rows share."""


def cells(values: Sequence[Any]) -> Cells:
    """A column of values as cells; most columns hold one kind, and many one value."""
    kinds = set(map(type, values))
    first = values[0]
    if kinds in _ALIKE and first != 0.0 and values.count(first) == len(values):
        return cell(first)
    if kinds == _TEXT and _numbered(values):
        return list(values)
    if kinds in _REPEATED:
        known = {value: cell(value) for value in set(values)}
        return [known[value] for value in values]
    if kinds == _INT:
        return list(map(int.__repr__, values))
    if kinds == _FLOATS and math.isfinite(sum(values)):
        return list(map(float.__repr__, values))
    return list(map(cell, values))


def _numbered(values: Sequence[str]) -> bool:
    """Whether all are one bare word with a number behind it, as ids are: a question for all, not each."""
    stem = values[0].rstrip(_DIGITS)
    if not stem or stem == values[0] or text_cell(stem) != stem:
        return False
    lines = "\n" + "\n".join(values)
    numbers = lines.replace("\n" + stem, "")
    return lines.count("\n") == len(values) and numbers.isascii() and numbers.isdigit()


def read_cell(text: str, *, quoted: bool) -> Any:
    """The value of a cell, quotes taken off; ValueError for broken JSON."""
    if quoted:
        return _quoted(text)
    if not text:
        return None
    if text in ("true", "false"):
        return text == "true"
    if text in FLOATS:
        return FLOATS[text]
    if _INTEGER(text):
        return int(text)
    return float(text) if _FLOAT(text) else text


def _quoted(text: str) -> Any:
    if text.startswith("'"):
        return text[1:]
    if not text.startswith(("[", "{")):
        return text
    return json_value(text)


def _bytes_back(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes_back(item) for item in value]
    if not isinstance(value, dict):
        return value
    if list(value) == [MARK_BYTES] and isinstance(value[MARK_BYTES], str):
        try:
            return base64.b64decode(value[MARK_BYTES], validate=True)
        except binascii.Error as error:
            raise ValueError(f"no base64: {error}") from error
    return {key: _bytes_back(item) for key, item in value.items()}


def column_name(*path: str) -> str:
    """The column of a path of keys."""
    return ".".join([key.replace("\\", "\\\\").replace(".", "\\.") for key in path])


@lru_cache(maxsize=1024)
def column_path(name: str) -> tuple[str, ...]:
    """The path of keys of a column."""
    path = [""]
    for piece in _PIECES(name):
        if piece == ".":
            path.append("")
        else:
            path[-1] += piece.removeprefix("\\")
    return tuple(path)


def flattened(prefix: str, box: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(column, value) of everything in nested dictionaries; an empty one below the top is a value."""
    for key, value in box.items():
        name = f"{prefix}.{column_name(str(key))}"
        if type(value) is dict and value:
            yield from flattened(name, value)
        else:
            yield name, value


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Columns back in nested dictionaries; None, which is a cell with nothing in it, is left out."""
    top: dict[str, Any] = {}
    for name, value in flat.items():
        if value is None:
            continue
        *path, last = column_path(name)
        box = top
        for key in path:
            inner = box.setdefault(key, {})
            if type(inner) is not dict:
                raise ValueError(
                    f"column {name!r}: {key!r} is a value in this row, and has keys too"
                )
            box = inner
        box[last] = value
    return top
