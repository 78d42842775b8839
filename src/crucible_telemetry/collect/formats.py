"""Which files can be written, by the end of their names. PURE."""

from importlib.util import find_spec
from typing import Final

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError, install

LINES: Final = ("csv", "jsonl")
TABLES: Final = ("parquet", "arrow")
KINDS: Final = (*LINES, *TABLES)
COMPRESSIONS: Final = ("gz", "zst")


class Format(Struct, frozen=True):
    """What a file holds (``"csv"``, ``"jsonl"``, ``"parquet"``, ``"arrow"``) and how it is compressed (``"gz"``, ``"zst"``, None)."""

    kind: str
    compression: str | None = None

    @property
    def ending(self) -> str:
        """The end of a file's name, ``.csv.gz``."""
        return f".{self.kind}" + (f".{self.compression}" if self.compression else "")


ENDINGS: Final = tuple(
    Format(kind, compression).ending
    for compression in (None, *COMPRESSIONS)
    for kind in reversed(KINDS)
)


def stem_of(name: str) -> str:
    """The name of a file without the ending that says its format."""
    ending = next((one for one in reversed(ENDINGS) if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]


def format_of(name: str, kind: str | None = None, compression: str | None = None) -> Format:
    """The format a file's name asks for; what is given in words stands before it.

    `ConfigurationError` names what can be written, and the extra that is missing.
    """
    stem, _, last = name.lower().rpartition(".")
    if last in COMPRESSIONS:
        compression = compression or last
        last = stem.rpartition(".")[2]
    if kind is None and last not in KINDS:
        raise ConfigurationError(
            "path",
            f"{name!r} does not say its format: end it in {_words(KINDS)} "
            f"(with {_words(COMPRESSIONS)} behind the first two for a compressed file), or give format=",
        )
    return check_format(kind or last, compression)


def check_format(kind: str, compression: str | None) -> Format:
    """The format, if it can be written here."""
    if kind not in KINDS:
        raise ConfigurationError("format", f"want one of {', '.join(KINDS)}, not {kind!r}")
    if compression is not None and compression not in COMPRESSIONS:
        raise ConfigurationError(
            "compression", f"want one of {', '.join(COMPRESSIONS)}, or None, not {compression!r}"
        )
    if kind in TABLES:
        return _table(kind, compression)
    if compression == "zst" and find_spec("zstandard") is None:
        raise without_zstandard()
    return Format(kind, compression)


def without_zstandard() -> ConfigurationError:
    """The error where ``.zst`` is asked for and the package is not there."""
    return ConfigurationError("compression", f"zst needs the package zstandard: {install('zstd')}")


def _table(kind: str, compression: str | None) -> Format:
    if compression is not None:
        raise ConfigurationError("compression", f".{kind} needs none around it: leave it out")
    if find_spec("pyarrow") is None:
        raise ConfigurationError(
            "format", f".{kind} needs the package pyarrow: {install('parquet')}"
        )
    return Format(kind)


def _words(endings: tuple[str, ...]) -> str:
    return ", ".join(f".{ending}" for ending in endings)
