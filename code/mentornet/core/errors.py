"""Errors that a user can correct, and the checks that raise them."""

from __future__ import annotations

from typing import Any

_LONGEST = 1000  # Characters of a value that a message shows.


class InputError(ValueError):
    """Input that a user can correct; scripts print it on one line and exit with status 2."""


class WorkerLostError(RuntimeError):
    """Lost contact with another worker; scripts restart and wait for it.

    Args:
      reason: TensorFlow's error.
      has_opened: whether train_log_dir had been opened, and with `overwrite` emptied.
    """

    def __init__(self, reason: str, has_opened: bool) -> None:
        super().__init__(reason)
        self.has_opened = has_opened


def check(condition: bool, rule: str, /, **received: Any) -> None:
    """Raises InputError with `rule` and the values received, if any, unless `condition` holds."""
    if not condition:
        values = ", ".join(f"{name}={_shown(value)}" for name, value in received.items())
        raise InputError(f"{rule} Received: {values}" if values else rule)


def _shown(value: Any) -> str:
    """The repr of a value, truncated."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has no message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def check_count(name: str, value: int, lowest: int = 1) -> None:
    """Raises InputError unless `value` is in lowest..2**31-1."""
    rule = "must not be negative" if lowest == 0 else f"must be at least {lowest}"
    check(value >= lowest, f"`{name}` {rule}.", **{name: value})
    check(value < 2**31, f"`{name}` must be below 2**31.", **{name: value})
