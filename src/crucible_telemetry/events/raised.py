"""What is told of an error: by the end of a failed span, and in logs and reports. PURE."""

from typing import Any, Final

from crucible_telemetry.errors import RestartsExhausted, StoreError

_MAX_FRAMES: Final = 20


def in_words(error: BaseException) -> dict[str, Any]:
    """The end event's metadata: kind, text and innermost frames."""
    return {
        "kind": type(error).__name__,
        "error": _said(error),
        "frames": frames_of(error),
    }


def frames_of(error: BaseException, limit: int = _MAX_FRAMES) -> list[str]:
    """Its innermost frames, ``function:line``, outermost first."""
    import traceback  # noqa: PLC0415 - only a failing call pays for it

    return [
        f"{frame.name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)[-limit:]
    ]


def placed(error: BaseException | None) -> str:
    """An error by its type and place, ``ValueError at parse:12``: its text may quote what an event held."""
    kind = type(error).__name__
    frames = [] if error is None else frames_of(error, 1)
    return f"{kind} at {frames[0]}" if frames else kind


def crash_of(failure: BaseException | None) -> str:
    """What a failed experiment failed of: the crash behind it by type and place, a store's reason in words."""
    behind = failure.__cause__ if isinstance(failure, RestartsExhausted) else None
    return str(failure) if isinstance(failure, StoreError) else placed(behind or failure)


def told(error: BaseException) -> str:
    """An error by its type and text: for one that a user's set-up raised, not what an event held."""
    return f"{type(error).__name__}: {_said(error)}"


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - a user's __str__ must not hide the user's error
        return f"<{type(worse).__name__} in its str>"
