"""Did a receiver take the very frame that a receipt names: the third time of a receipt, `felt`."""

from __future__ import annotations

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from straybit.control import Control, Frame, Frames

__all__ = ["felt", "wait_felt"]

LOOK_EVERY_S = 0.01


def felt(control: Control, crc: int, since: int = 0) -> Frame | None:
    """The first frame from sequence number `since` on whose raw bytes have `crc`, refused ones too; one look.

    Raises ControlError.
    """
    return next((frame for frame in control.frames(since).frames if frame.crc == crc), None)


def wait_felt(control: Control, crc: int, since: int = 0, *, timeout_s: float) -> Frame | None:
    """Look until the frame is there; None when it does not come within `timeout_s`. Raises ControlError."""
    look = _Look(control, crc, since)
    retrying = Retrying(
        retry=retry_if_result(lambda frame: frame is None),
        wait=wait_fixed(LOOK_EVERY_S),
        stop=stop_after_delay(timeout_s),
    )
    try:
        return retrying(look)
    except RetryError:
        return None


class _Look:
    """Looks only at what came since the last look."""

    def __init__(self, control: Control, crc: int, since: int) -> None:
        self._control = control
        self._crc = crc
        self._since = since

    def __call__(self) -> Frame | None:
        frames: Frames = self._control.frames(self._since)
        self._since = frames.next
        return next((frame for frame in frames.frames if frame.crc == self._crc), None)
