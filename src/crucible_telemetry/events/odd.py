"""What msgpack cannot hold, made holdable: nothing raises out of an emit and nothing is lost. PURE.

A replaced value is a small dictionary with one key that says so (`crucible:…`): the marked `repr` of an
unknown type, the length and hash of what is too long, the digits of an integer beyond 64 bits. The
drain counts marks by kind and, under privacy, takes texts out of them.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

MARK_REPR: Final = "crucible:repr"
MARK_CUT: Final = "crucible:cut"
MARK_INTEGER: Final = "crucible:int"

MAX_DEPTH: Final = 64
MAX_REPR: Final = 200
MAX_KEY: Final = 256
_MAX_ARRAY_BYTES: Final = 32_768
_PART: Final = 2**20
# A subclass by its value, whatever it overrides.
_BASES: Final[tuple[tuple[type, Any], ...]] = (
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__float__),
)
_PLAIN: Final = frozenset({int, float, str, bool, type(None), bytes})


def encode_hook(value: Any) -> object:
    """What msgspec calls for a type it does not know: NumPy and friends by value, the rest by `repr`."""
    # `nbytes` and not `size`, which is a method of tensors. A long double is its own list.
    if hasattr(value, "tolist") and getattr(value, "nbytes", _MAX_ARRAY_BYTES) < _MAX_ARRAY_BYTES:
        simple = value.tolist()
        return simple if type(simple) is not type(value) else float(simple)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": text_of(value)}
    for base, simple in _BASES:
        if isinstance(value, base):
            return simple(value)
    return value.__qualname__ if isinstance(value, type) else marked_repr(value)


def marked_repr(value: object) -> dict[str, str]:
    """The mark of a value of unknown type: at most 200 characters of its `repr`, and its type."""
    return {MARK_REPR: text_of(value, repr), "type": type(value).__qualname__}


def marked_cut(size: int, digest: str, kind: str) -> dict[str, Any]:
    """The mark of something too long or too deep: its length (characters, bytes or items) and SHA-256."""
    return {MARK_CUT: size, "sha256": digest, "type": kind}


def text_of(value: object, form: Any = str) -> str:
    """At most 200 encodable characters of a value's `str` (or `repr`), also of one that raises there."""
    try:
        text = form(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<{type(value).__qualname__}: {type(error).__name__} in its {form.__name__}>"
    return encodable(text[:MAX_REPR])


def told(error: BaseException) -> str:
    """An error in words, ``Type: message``, also one that raises when it is asked."""
    return f"{type(error).__name__}: {text_of(error)}"


def encodable(text: str) -> str:
    """The text with lone surrogates written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain_mapping(value: object, *, deep: bool = False) -> dict[str, Any]:
    """Measurements or metadata as a dictionary, whatever they were given as; `deep` cleans values too."""
    if value is None:
        return {}
    given: dict[Any, Any]
    try:
        given = value if type(value) is dict else dict(value)  # type: ignore[call-overload]
    except Exception:  # noqa: BLE001 - anything may stand here; it is kept as a mark
        return {"value": plain(value, 1)}
    if not deep:
        return given
    return {plain_key(key): plain(item, 1) for key, item in list(given.items())}


def plain_key(key: object) -> str:
    """A key as encodable text, at most `MAX_KEY` characters and a hash of the rest."""
    text = encodable(key) if isinstance(key, str) else text_of(key)
    if len(text) <= MAX_KEY:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text[:MAX_KEY]}…{digest}"


def plain(value: Any, depth: int, around: frozenset[int] = frozenset()) -> Any:
    """The value with everything unencodable replaced, at most `MAX_DEPTH` levels of it.

    `around`: ids of the containers it lies in. A container inside itself is cut where it comes again,
    since one that holds itself twice has 2**64 places within 64 levels.
    """
    kind = type(value)
    if kind is str:
        return encodable(value)
    if kind is int:
        return value if -(2**63) <= value < 2**64 else {MARK_INTEGER: _digits(value)}
    if kind in _PLAIN:
        return value
    if depth >= MAX_DEPTH or id(value) in around:
        return _cut_depth(value)
    try:
        return _plain_container(value, kind, depth, around | {id(value)})
    except RecursionError:
        return _cut_depth(value)


def _plain_container(value: Any, kind: type, depth: int, around: frozenset[int]) -> Any:
    if kind is dict:
        items = list(value.items())
        return {plain_key(key): plain(item, depth + 1, around) for key, item in items}
    if kind in (list, tuple, set, frozenset):
        return [plain(item, depth + 1, around) for item in list(value)]
    if isinstance(value, Enum):
        return plain(value.value, depth + 1, around)
    if isinstance(value, (datetime, Decimal, int)):
        return _plain_scalar(value)
    return _plain_other(value, depth)


def _plain_scalar(value: datetime | Decimal | int) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float("nan") if value.is_snan() else float(value)
    return plain(int.__index__(value), 0)


def _plain_other(value: Any, depth: int) -> Any:
    import msgspec  # noqa: PLC0415 - builtins of dates, enums, structs; the rest goes to the hook

    try:
        simple = msgspec.to_builtins(value, enc_hook=encode_hook, builtin_types=(bytes,))
    except Exception:  # noqa: BLE001 - any object may raise anything here
        return marked_repr(value)
    return plain(simple, depth + 1)


def _digits(value: int) -> str:
    """An integer beyond 64 bits: its digits, or its length where Python refuses to print it."""
    if value.bit_length() > 8192:
        return f"{value.bit_length()} bits"
    return str(value)


def _cut_depth(value: Any) -> dict[str, Any]:
    try:
        size = len(value)
    except Exception:  # noqa: BLE001 - no length, or a user's __len__, which may raise anything
        size = 1
    return marked_cut(size, "", type(value).__name__)


def shrink(values: list[Any], limit_bytes: int, encode: Any) -> list[Any]:
    """Values whose encoding together passes `limit_bytes`, the large ones replaced by length and hash.

    Each value may take its even share; what is larger goes, largest first in effect.
    """
    share = max(limit_bytes // (2 * max(len(values), 1)), 64)
    return [_shrunk(value, share, encode) for value in values]


def _shrunk(value: Any, share: int, encode: Any) -> Any:
    if type(value) in (int, float, bool, type(None)):
        return value
    if type(value) in (str, bytes):
        return _cut_text(value) if len(value) > share else value
    data = encode(value)
    if len(data) <= share:
        return value
    size = len(value) if hasattr(value, "__len__") else len(data)
    return marked_cut(size, hashlib.sha256(data).hexdigest(), type(value).__name__)


def cut_texts(values: Mapping[Any, Any], limit: int) -> dict[Any, Any]:
    """Values with each text or bytes of more than `limit` cut: before it is copied once more."""
    return {
        key: _cut_text(value) if type(value) in (str, bytes) and len(value) > limit else value
        for key, value in values.items()
    }


def _cut_text(value: str | bytes) -> dict[str, Any]:
    """The mark of a long text; hashed a part at a time, for its encoding would be as large again."""
    digest = hashlib.sha256()
    for at in range(0, len(value), _PART):
        part = value[at : at + _PART]
        digest.update(part if isinstance(part, bytes) else part.encode("utf-8", "backslashreplace"))
    return marked_cut(len(value), digest.hexdigest(), type(value).__name__)


def depth_of(value: Any) -> int:
    """How deep containers nest, counted level by level (no recursion), up to `MAX_DEPTH` + 1."""
    level = [value]
    for depth in range(MAX_DEPTH + 2):
        level = [item for box in level for item in _items(box)]
        if not level:
            return depth
    return MAX_DEPTH + 1


def _items(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [item for item in value.values() if type(item) not in _PLAIN]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [item for item in value if type(item) not in _PLAIN]
    return ()
