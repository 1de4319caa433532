"""Options that several commands share, checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from straybit.backends.choose import BACKENDS
from straybit.budgets import budgets_with
from straybit_nodes.defences import parse_defences
from straybit_nodes.topology import Topology

__all__ = [
    "checked",
    "defences_option",
    "fresh_folder",
    "read_budgets",
    "read_size",
    "run_options",
    "size_options",
]

F = TypeVar("F", bound=Callable[..., Any])


def checked(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that turns the parser's ValueError into one line of usage error."""

    def callback(_: click.Context, __: click.Parameter, value: Any) -> Any:  # noqa: ANN401 - click passes anything
        try:
            return tuple(map(parse, value)) if isinstance(value, tuple) else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        except SystemExit:
            raise click.BadParameter(f"{value} ends the program when it is loaded; it must only define") from None

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


def size_options(command: F) -> F:
    """Add `--servers` and `--balancers`."""
    servers = click.option(
        "--servers", type=(int, int), default=(3, 5), show_default=True, help="Servers in eu and us."
    )
    balancers = click.option(
        "--balancers", type=(int, int), default=(1, 2), show_default=True, help="Balancers in eu and us."
    )
    return servers(balancers(command))


def read_size(servers: tuple[int, int], balancers: tuple[int, int]) -> Topology:
    """The topology of these sizes, each of eu and us. Raises click.BadParameter."""
    try:
        return Topology.sized(eu=(servers[0], balancers[0]), us=(servers[1], balancers[1]))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--servers") from None


def read_budgets(texts: tuple[str, ...]) -> dict[str, float]:
    """The budgets with those given on the command line. Raises click.BadParameter."""
    try:
        return budgets_with(texts)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--budget") from None


def fresh_folder(out: Path | None, name: str) -> Path:
    """The folder for a run's files, made. Raises click.BadParameter where it cannot be, or holds a run already."""
    folder = out or Path("straybit-out") / name
    if folder.exists() and not folder.is_dir():
        raise click.BadParameter(f"{folder} is no folder; name another one, or none", param_hint="--out")
    if (folder / "journal.ndjson").exists():
        raise click.BadParameter(f"{folder} holds a run already; name another folder, or remove it", param_hint="--out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{folder} cannot be made: {error.strerror}; name another folder"
        raise click.BadParameter(why, param_hint="--out") from None
    return folder
