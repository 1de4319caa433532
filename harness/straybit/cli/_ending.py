"""What the command line says and returns when it was told to end, in honest words about what is left."""

from __future__ import annotations

import click

from straybit.backends import BackendError
from straybit.interruption import Terminated, chain

__all__ = ["code_of", "words_for"]

NO_VERDICT = 2


def code_of(told: KeyboardInterrupt | None) -> int:
    """The exit code: 128 and the signal's number, as of whoever is ended by one, and no verdict after Ctrl-C."""
    return 128 + told.number if isinstance(told, Terminated) else NO_VERDICT


def words_for(error: BaseException, told: KeyboardInterrupt | None) -> str:
    """One line about an end that was asked for, by `told`, and came as `error`: what may be left."""
    how = f"ended by {told}" if isinstance(told, Terminated) else "interrupted"
    failed = _failure(error)
    if failed is None:
        return f"straybit: {how}; everything it started has been taken down"
    line = f"straybit: {how}, and taking down failed: {' '.join(str(failed[0]).split())}"
    if "`straybit sweep`" in line:
        return line
    return f"{line}; {failed[1]} may be left: `straybit sweep` removes containers, and processes end by themselves"


def _failure(error: BaseException) -> tuple[BaseException, str] | None:
    """The outermost error that says why something was not taken down, and what that is."""
    if isinstance(error, Exception) and not isinstance(error, click.Abort):
        return error, next(filter(None, (getattr(each, "left", "") for each in chain(error))), "something")
    outermost = None
    for each in chain(error):
        if isinstance(each, BackendError):
            outermost = outermost or each
            if each.left:
                return outermost, each.left
    return None
