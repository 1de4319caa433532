"""Messages that a toxic has claimed as a whole: held until they are complete, then replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from straybit_faults.proxy.application import Application
from straybit_faults.toxics import Whole
from straybit_faults.toxics.content import Decision
from straybit_faults.wire import Message, Part

if TYPE_CHECKING:
    from straybit_faults.proxy.editor import Editor
    from straybit_faults.toxics import Timer

__all__ = ["ClaimedMessage"]


class ClaimedMessage:
    """`start` and `end` are stream offsets, `end` is None until it is known; of an open message `parts` tell the runs.

    `decision` is None where the toxic only wants to see the message.
    """

    def __init__(
        self, editor: Editor, message: Message, toxic: Whole, application: Application, *, decision: Decision | None
    ) -> None:
        assert application.reader is not None
        self.editor = editor
        self.message = message
        self.toxic = toxic
        self.application = application
        self.decision = decision
        self.start = application.reader.origin + message.at
        self.end = None if message.end is None else application.reader.origin + message.end
        self.parts: list[Part] = []
        self.data = b""
        self.answer: Sequence[bytes] | None = None
        self.timer: Timer | None = None

    @property
    def connection(self) -> int:
        """Number of its connection on the proxy."""
        return self.editor.stream.number

    def field_runs(self, name: str) -> Sequence[tuple[int, int]]:
        """Where in `data` a field's bytes are: start and length of each run, more than one in a chunked body."""
        field = self.message.field(name)
        if field is None:
            return []
        if field.length is None:
            return [(part.at - self.message.at, part.length) for part in self.parts if part.field == field.name]
        return [(field.at - self.message.at, field.length)]

    def complete(self, end: int) -> bool:
        """Whether the whole message lies before stream offset `end`."""
        return self.end is not None and self.end <= end

    def put_off(self, seconds: float, reason: str) -> None:
        """Wait for `wake`, and pass the message on unchanged after that time, because of `reason`."""
        if self.timer is None:
            stream = self.editor.stream
            self.timer = stream.at(stream.now() + seconds, lambda: self.give_up(reason))

    def delay(self, seconds: float) -> None:
        """Pass the message on after that time, as the fault that was asked for."""
        if self.timer is None:
            stream = self.editor.stream
            self.timer = stream.at(stream.now() + seconds, self._due)

    def _due(self) -> None:
        self.answer = (self.data,)
        self.wake()

    def give_up(self, reason: str) -> None:
        """Pass the message on unchanged."""
        self.editor.miss(self.application.matcher, reason)
        self.decision = None
        self.answer = (self.data,)
        self.wake()

    def wake(self) -> None:
        """Go on: `answer` is set."""
        self.cancel()
        self.editor.stream.later(self.editor.drain)

    def cancel(self) -> None:
        """Wait no longer."""
        if self.timer is not None:
            self.timer.cancel()

    def replace(self, data: bytes, missed: Callable[[str], None]) -> Sequence[bytes] | None:
        """What goes on instead of the complete message; None: not yet."""
        self.data = data
        if self.answer is not None:
            return self.answer
        try:
            replaced = self.toxic.replace(self.application.matcher.state, self)
        except ValueError as error:
            missed(str(error))
            self.decision = None
            return (data,)
        return replaced
