"""What a person sees while a run lasts: a live line on a terminal, a plain line a phase anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from straybit.report.terminal import print_result
from straybit.result import RunResult

__all__ = ["Screen"]


class Screen:
    """Standard output for people, or standard error when standard output is for machines."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False)

    @contextmanager
    def live(self, title: str) -> Iterator[_Line]:
        """A live line with the phase and the time it has taken; removed when the run is over."""
        columns = (SpinnerColumn(), TextColumn("[bold]{task.description}"), TextColumn("{task.fields[phase]}"))
        progress = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
        with progress:
            yield _Line(progress, title, plain=None if self.console.is_terminal else self.console)

    def show(self, result: RunResult, folder: Path) -> None:
        """The table of phases, the verdict, and where the report is; or the result alone, as JSON."""
        print_result(result, self.console, report=folder / "report.html")
        if self.as_json:
            self.emit(result)

    def emit(self, result: RunResult) -> None:
        """`result.json` on standard output, where it was asked for."""
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())  # noqa: T201 - what --json is for


class _Line:
    def __init__(self, progress: Progress, title: str, plain: Console | None) -> None:
        self._progress = progress
        self._plain = plain
        self._title = title
        self._task = progress.add_task(title, phase="", total=None)

    def __call__(self, phase: str) -> None:
        self._progress.update(self._task, phase=phase)
        if self._plain is not None:
            self._plain.print(f"{self._title}: {phase}")
