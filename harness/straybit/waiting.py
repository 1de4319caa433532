"""The one way in which the harness waits: for a condition, looked at again and again, with a limit."""

from __future__ import annotations

from collections.abc import Callable

import tenacity

__all__ = ["wait_until"]


def wait_until(done: Callable[[], bool], within_s: float, *, every_s: float = 0.05) -> bool:
    """Whether `done()` came true within so many seconds; it is asked at least once, and `every_s` apart."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda ok: not ok),
        wait=tenacity.wait_fixed(every_s),
        stop=tenacity.stop_after_delay(within_s),
        retry_error_callback=lambda _: False,
    )
    return bool(retrying(done))
