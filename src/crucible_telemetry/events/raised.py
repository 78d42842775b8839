"""What the end of a failed span tells of its error. PURE."""

from typing import Any, Final

_MAX_FRAMES: Final = 20


def in_words(error: BaseException) -> dict[str, Any]:
    """The end event's metadata: kind, text and innermost frames."""
    import traceback  # noqa: PLC0415 - only a failing call pays for it

    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    return {
        "kind": type(error).__name__,
        "error": _said(error),
        "frames": [f"{frame.name}:{frame.lineno}" for frame in frames],
    }


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - a user's __str__ must not hide the user's error
        return f"<{type(worse).__name__} in its str>"
