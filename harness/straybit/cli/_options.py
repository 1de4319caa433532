"""Options that several commands share, checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from straybit.backends.choose import BACKENDS
from straybit.budgets import budgets_with
from straybit_nodes.defences import parse_defences

__all__ = ["checked", "fresh_folder", "run_options"]

F = TypeVar("F", bound=Callable[..., Any])


def checked(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that turns the parser's ValueError into one line of usage error."""

    def callback(_: click.Context, __: click.Parameter, value: Any) -> Any:  # noqa: ANN401 - click passes anything
        try:
            return tuple(map(parse, value)) if isinstance(value, tuple) else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def _defences(text: str) -> tuple[str, frozenset[str]]:
    return text, parse_defences(text)


def run_options(command: F) -> F:
    """Add what `run`, `demo` and `replay` have in common."""
    options = (
        click.option("--backend", type=click.Choice(list(BACKENDS)), default="process", show_default=True),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides all that is drawn."),
        click.option(
            "--budget",
            "budgets",
            multiple=True,
            metavar="NAME=SECONDS",
            help="Set a budget: detected, recovered or staged; may be given again.",
        ),
        click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [straybit-out/RUN ID]."),
        click.option(
            "--json", "as_json", is_flag=True, help="Print result.json, and nothing else, on standard output."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def defences_option(command: F) -> F:
    """Add `--defences`."""
    return click.option(
        "--defences",
        default="all",
        show_default=True,
        callback=checked(_defences),
        metavar="none|2008|all|NAME,...",
        help="Which defences are on.",
    )(command)


def read_budgets(texts: tuple[str, ...]) -> dict[str, float]:
    """The budgets with those given on the command line. Raises click.BadParameter."""
    try:
        return budgets_with(texts)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--budget") from None


def fresh_folder(out: Path | None, name: str) -> Path:
    """The folder for a run's files. Raises click.BadParameter when it holds a run already."""
    folder = out or Path("straybit-out") / name
    if (folder / "journal.ndjson").exists():
        raise click.BadParameter(f"{folder} holds a run already; name another folder, or remove it", param_hint="--out")
    return folder
