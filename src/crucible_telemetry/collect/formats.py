"""Which files can be written, by the end of their names. PURE."""

from importlib.util import find_spec
from typing import Final

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError, NotBuiltYet

KINDS: Final = ("csv", "jsonl")
COMPRESSIONS: Final = ("gz", "zst")
LATER: Final = ("parquet", "arrow", "feather")


class Format(Struct, frozen=True):
    """What a file holds (``"csv"``, ``"jsonl"``) and how it is compressed (``"gz"``, ``"zst"``, None)."""

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

    `ConfigurationError` names what can be written, `NotBuiltYet` what comes later.
    """
    stem, _, last = name.lower().rpartition(".")
    if last in COMPRESSIONS:
        compression = compression or last
        last = stem.rpartition(".")[2]
    if kind is None and last not in KINDS:
        if last in LATER:
            raise NotBuiltYet(f"export to {name!r}", f"this version writes {_words(KINDS)}")
        raise ConfigurationError(
            "path",
            f"{name!r} does not say its format: end it in {_words(KINDS)} "
            f"(with {_words(COMPRESSIONS)} behind it for a compressed file), or give format=",
        )
    return check_format(kind or last, compression)


def check_format(kind: str, compression: str | None) -> Format:
    """The format, if it can be written here."""
    if kind in LATER:
        raise NotBuiltYet(f"format={kind!r}", f"this version writes {_words(KINDS)}")
    if kind not in KINDS:
        raise ConfigurationError("format", f"want one of {', '.join(KINDS)}, not {kind!r}")
    if compression is not None and compression not in COMPRESSIONS:
        raise ConfigurationError(
            "compression", f"want one of {', '.join(COMPRESSIONS)}, or None, not {compression!r}"
        )
    if compression == "zst" and find_spec("zstandard") is None:
        raise ConfigurationError(
            "compression", "zst needs the package zstandard: pip install 'crucible-telemetry[zstd]'"
        )
    return Format(kind, compression)


def _words(endings: tuple[str, ...]) -> str:
    return ", ".join(f".{ending}" for ending in endings)
