"""What a person sees while a run lasts."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from straybit.cli._screen import Budget, Line, Screen


def test_a_phase_is_shown_with_its_budget_where_it_has_one(capsys):
    """One plain line a phase where there is no terminal; the budget is the run's of that name or first word."""
    with Screen(as_json=False).live("july-2008", {"staged": 15.0, "recovered": 5.0}) as line:
        for phase in ("flips", "staged restore", "recovered"):
            line(phase)
    said = ["july-2008: flips", "july-2008: staged restore, budget 15 s", "july-2008: recovered, budget 5 s"]
    assert capsys.readouterr().out.splitlines() == said


def test_standard_output_is_left_to_programs(capsys):
    """With --json people's lines go to standard error."""
    with Screen(as_json=True).live("run", {}) as line:
        line("flips")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "run: flips\n")


def test_the_live_line_has_the_budget_too():
    """On a terminal the bar names phase and budget."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    progress = Progress(TextColumn("{task.fields[phase]}"), console=console)
    with progress:
        Line(progress, "run", {"staged": 15.0})("staged restore")
    assert "staged restore, budget 15 s" in out.getvalue()


@pytest.mark.parametrize(
    ("phase", "took_s", "shown", "style"),
    [("recovered", 2.5, 10, "green"), ("recovered", 9.0, 20, "red"), ("flips", 9.0, 0, "")],
)
def test_a_bar_shows_the_time_against_the_budget(phase, took_s, shown, style):
    """Half the budget is half the bar, more than all of it is red, and a phase without a budget has none."""
    now = [0.0]
    progress = Progress(Budget(), get_time=lambda: now[0])
    Line(progress, "run", {"recovered": 5.0})(phase)
    now[0] = took_s
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    parts = [part for part in console.render(Budget().render(progress.tasks[0])) if part.style and part.style.color]
    assert sum(len(part.text) for part in parts if part.style.color.name == style) == shown
