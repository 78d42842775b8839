"""File names from names that users, or their users, chose: no way out of a folder, on any system. PURE."""

import hashlib
import re
import unicodedata
from typing import Final

MAX_BYTES: Final = 120
"""Of the name in UTF-8; file systems allow 255, and endings are still to come."""

# Separators, wildcards, quotes and streams of Windows.
_UNSAFE: Final = frozenset('/\\:*?"<>|')
# Control, format (bidirectional marks, zero width), surrogate, private, unassigned; line and paragraph.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_DEVICE: Final = re.compile(r"(?i)(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9])(\.|\Z)")


def safe_file_name(name: str) -> str:
    """One part of a path for a name: at most 120 bytes, no separator, no device, not hidden, never empty.

    A name that is safe stays as it is; any other is made so and ends in a hash of what it was, so that
    two names do not become one. Names that differ in case alone are one file on some systems.
    """
    normal = unicodedata.normalize("NFKC", name)  # a full-width slash becomes a slash, and goes
    shown = "".join("_" if _is_unsafe(char) else char for char in normal).strip(" .-~")
    if shown == name and not _DEVICE.match(shown) and 0 < len(shown.encode()) <= MAX_BYTES:
        return shown
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = shown.encode()[: MAX_BYTES - len(digest) - 2].decode("utf-8", "ignore").rstrip(" .")
    return f"_{stem}-{digest}" if _DEVICE.match(stem) else f"{stem or '_'}-{digest}"


def _is_unsafe(char: str) -> bool:
    return char in _UNSAFE or unicodedata.category(char) in _UNSEEN
