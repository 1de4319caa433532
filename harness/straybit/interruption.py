"""An end that was asked for: by Ctrl-C, and for a command line by SIGTERM and SIGHUP in the same order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Terminated", "chain", "interruption", "orderly"]

TOLD = (signal.SIGTERM, signal.SIGHUP)
TWICE_S = 1.0
"""`timeout` tells its command and then the whole group, which is one wish; what comes later is another."""


class Terminated(KeyboardInterrupt):
    """Somebody told this process to end; everything that cleans up behind Ctrl-C does it behind this."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def orderly() -> Iterator[list[Terminated]]:
    """While this is entered SIGTERM and SIGHUP raise Terminated in the main thread; one that is ignored stays so.

    Gives those that were raised so far, since not every error has what was raised before it behind it.
    """
    heard_at = -TWICE_S
    raised: list[Terminated] = []

    def hear(number: int, _: FrameType | None) -> None:
        nonlocal heard_at
        before, heard_at = heard_at, time.monotonic()
        if heard_at - before >= TWICE_S:
            raised.append(Terminated(number))
            raise raised[-1]

    usual = {}
    try:
        for number in TOLD if threading.current_thread() is threading.main_thread() else ():
            if signal.getsignal(number) is signal.SIG_DFL:
                usual[number] = signal.signal(number, hear)
        yield raised
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """What told the process to end, where that is behind `error`; a signal before Ctrl-C."""
    found = [each for each in chain(error) if isinstance(each, KeyboardInterrupt)]
    return next((each for each in found if isinstance(each, Terminated)), found[0] if found else None)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it, also where `from None` keeps them out of a traceback."""
    seen: dict[int, BaseException] = {}
    behind: list[BaseException | None] = [error]
    while behind:
        each = behind.pop()
        if each is not None and id(each) not in seen:
            seen[id(each)] = each
            behind += [each.__context__, each.__cause__]
            yield each
