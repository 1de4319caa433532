"""What a person sees while a run lasts: a live line on a terminal, a plain line a phase anywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.text import Text

from straybit.records import Phase
from straybit.report import facts
from straybit.report.figures import budget_of
from straybit.report.terminal import print_result
from straybit.result import RunResult

__all__ = ["Budget", "Line", "Screen"]


class Budget(ProgressColumn):
    """A bar of the time a phase has taken against its budget, red once over it; nothing where it has none."""

    def render(self, task: Task) -> ProgressBar | Text:
        """The bar as of now."""
        budget = task.fields.get("budget")
        if budget is None:
            return Text("")
        took = task.elapsed or 0.0
        style = "red" if took > budget else "green"
        return ProgressBar(total=budget, completed=took, width=20, complete_style=style, finished_style=style)


class Screen:
    """Standard output for people, or standard error when standard output is for machines."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False)

    @contextmanager
    def live(self, title: str, budgets: Mapping[str, float]) -> Iterator[Line]:
        """A live line with the phase, the time it has taken, and a bar against its budget; gone with the run."""
        columns = (SpinnerColumn(), TextColumn("[bold]{task.description}"), TextColumn("{task.fields[phase]}"))
        progress = Progress(*columns, Budget(), TimeElapsedColumn(), console=self.console, transient=True)
        if not self.console.is_terminal:
            yield Line(progress, title, budgets, plain=self.console)
            return
        with progress:
            yield Line(progress, title, budgets)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, soft_wrap=True, markup=False)

    def show(self, result: RunResult, folder: Path) -> None:
        """The table of phases, the verdict, and where the report is; or the result alone, as JSON."""
        print_result(result, self.console, report=folder / "report.html")
        if self.as_json:
            self.emit(result)

    def emit(self, result: RunResult) -> None:
        """`result.json` on standard output, where it was asked for."""
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())  # noqa: T201 - what --json is for


class Line:
    """What a run reports its phases to."""

    def __init__(
        self, progress: Progress, title: str, budgets: Mapping[str, float], plain: Console | None = None
    ) -> None:
        self._progress = progress
        self._plain = plain
        self._title = title
        self._budgets = budgets
        self._task = progress.add_task(title, phase="", budget=None, total=None)

    def __call__(self, phase: str) -> None:
        budget = budget_of(Phase(name=phase, at_s=0, until_s=0), dict(self._budgets))
        text = phase if budget is None else f"{phase}, budget {facts.seconds(budget)}"
        self._progress.reset(self._task, phase=text, budget=budget)
        if self._plain is not None:
            self._plain.print(f"{self._title}: {text}")
