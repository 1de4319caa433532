"""What the commands about stepped trials share: setups, executors, errors in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from straybit.backends import BackendError
from straybit.campaign.diff import MapError
from straybit.campaign.executors import Dask, ExecutorError, Here, Lanes, Processes
from straybit.campaign.spec import MAX_NODES, Setup
from straybit.campaign.stage import StageError
from straybit.campaign.stages import STAGES
from straybit.campaign.store import StoreError
from straybit.cli._options import defences_option
from straybit.journal import JournalError
from straybit_faults.flip import FlipIdError

__all__ = [
    "LANES_MAX",
    "backend_option",
    "lanes_of",
    "lanes_options",
    "one_line",
    "read_setup",
    "read_share",
    "say",
    "stepped_options",
]

F = TypeVar("F", bound=Callable[..., Any])

LANES_MAX = 256
_OURS = (BackendError, ExecutorError, FlipIdError, JournalError, MapError, StageError, StoreError, ValueError, OSError)


@contextmanager
def one_line() -> Iterator[None]:
    """What cannot be is told in one line, and is no verdict: exit 2. What was done stays."""
    try:
        yield
    except _OURS as error:
        raise click.UsageError(" ".join(str(error).split())) from error


def stepped_options(command: F) -> F:
    """Add what says under what stepped trials are played."""
    options = (
        click.option("--nodes", type=click.IntRange(2, MAX_NODES), default=3, show_default=True, help="Gossip nodes."),
        click.option("--rounds", type=click.IntRange(0, 100), default=2, show_default=True, help="Of quiet time."),
        click.option(
            "--aftershock/--no-aftershock",
            default=True,
            show_default=True,
            help="Look for LATENT where nothing showed.",
        ),
        defences_option,
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides all that is drawn."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def lanes_options(command: F) -> F:
    """Add what says where they are played side by side."""
    options = (
        click.option("--lanes", type=click.IntRange(1, LANES_MAX), default=1, show_default=True, help="Side by side."),
        click.option(
            "--scheduler", metavar="tcp://HOST:PORT", help="A Dask cluster to play on, instead of lanes here."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def backend_option(*, default: str = "sim") -> Callable[[F], F]:
    """Add `--backend` of those that have stepped trials."""
    return click.option("--backend", type=click.Choice(list(STAGES)), default=default, show_default=True)


def read_setup(nodes: int, defences: frozenset[str], seed: int, rounds: int, *, aftershock: bool) -> Setup:
    """The setup that these options give."""
    return Setup(nodes=nodes, defences=tuple(sorted(defences)), seed=seed, rounds=rounds, aftershock=aftershock)


@contextmanager
def lanes_of(lanes: int, scheduler: str | None) -> Iterator[Lanes]:
    """The executor that these options ask for, closed in the end. Raises ExecutorError."""
    executor: Lanes = Dask(scheduler) if scheduler else Here() if lanes == 1 else Processes(lanes)
    try:
        yield executor
    finally:
        executor.close()


def say(text: str, *, as_json: bool) -> None:
    """For people: standard output, or standard error where that is for a program."""
    click.echo(text, file=sys.stderr if as_json else sys.stdout)


def read_share(text: str) -> float:
    """A share of `5%` or `0.05`. Raises ValueError."""
    number = text.removesuffix("%")
    try:
        share = float(number) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ValueError(f"{text!r} is no share between 0 and 1; say 5% or 0.05")
    return share
