"""`straybit campaign`: a census or a sample of the bits of one message, ending in a map of the dangerous ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from straybit.again import defences_word
from straybit.campaign.conduct import Session, conduct, open_campaign
from straybit.campaign.diff import newly_dangerous, read_map
from straybit.campaign.figures import Tally
from straybit.campaign.golden import golden
from straybit.campaign.map import Map, draw_map
from straybit.campaign.record import record_message
from straybit.campaign.space import Margin, Plan, census, sample
from straybit.campaign.spec import Aimed
from straybit.campaign.stages import recorder
from straybit.campaign.stop import read_stop
from straybit.campaign.store import Store, rebuild
from straybit.cli._campaigns import (
    backend_option,
    lanes_of,
    lanes_options,
    one_line,
    read_setup,
    read_share,
    say,
    stepped_options,
)
from straybit.cli._options import checked
from straybit.report.map_page import write_map
from straybit.report.map_words import map_text
from straybit.runner import command_line, run_id

__all__ = ["command"]

INVALID_SHARE = 0.01
"""Of the trials that may be INVALID before there is no verdict."""


def read_aim(text: str | None) -> Aimed | None:
    """The message that a campaign is about. Raises ValueError."""
    return None if text is None else Aimed.parse(text)


@click.command("campaign")
@click.argument("target", type=click.Choice(["reference"]), default="reference")
@click.option("--census", "every", metavar="LINK/KIND", callback=checked(read_aim), help="Every bit.")
@click.option("--sample", "some", metavar="LINK/KIND", callback=checked(read_aim), help="Some bits.")
@click.option("--margin", default="5%", show_default=True, callback=checked(read_share), help="Of a sample.")
@click.option("--confidence", default="95%", show_default=True, callback=checked(read_share), help="Of a sample.")
@click.option("--field", "fields", multiple=True, metavar="NAME", help="Only this field; may be given again.")
@click.option("--repair", is_flag=True, help="Recompute the checksum after each flip: damage made before it.")
@backend_option()
@stepped_options
@lanes_options
@click.option("--stop-at", "stops", multiple=True, metavar="OUTCOME[=N]", help="End at the first, or at the N-th.")
@click.option("--time", "within", metavar="DURATION", help="End after so long, as 90s, 5m or 1h.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="DIR", help="Go on with the campaign of that folder."
)
@click.option(
    "--rebuild", "again", type=click.Path(path_type=Path), metavar="DIR", help="Its database, from its journals."
)
@click.option("--baseline", type=click.Path(path_type=Path), metavar="MAP", help="Only bits that it lacks count.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the campaign [straybit-out/RUN ID].")
@click.option("--json", "as_json", is_flag=True, help="Print map.json, and nothing else, on standard output.")
def command(
    target: str,
    every: Aimed | None,
    some: Aimed | None,
    margin: float,
    confidence: float,
    fields: tuple[str, ...],
    repair: bool,
    backend: str,
    nodes: int,
    rounds: int,
    aftershock: bool,
    lanes: int,
    scheduler: str | None,
    defences: tuple[str, frozenset[str]],
    seed: int,
    stops: tuple[str, ...],
    within: str | None,
    resume: Path | None,
    again: Path | None,
    baseline: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Flip the bits of one message, one a trial, and map which of them hurt.

    Each trial begins with members that know nothing, and plays the same steps but for its flip.
    One in ten is a control, which changes nothing and must raise nothing.

    Exits 1 when a bit is dangerous (that --baseline does not have), 2 when more than 1 % of the trials are INVALID.
    """
    with one_line():
        if again is not None:
            folder, store = again, rebuild(again)
        elif resume is not None:
            folder, store = resume, open_campaign(resume)
        else:
            setup = read_setup(nodes, defences[1], seed, rounds, aftershock=aftershock)
            aimed = _aimed(every, some)
            message = record_message(aimed, setup, recorder(setup))
            if every:
                plan = census(message, setup, repair=repair, fields=fields)
            else:
                plan = sample(message, setup, Margin(margin, confidence), repair=repair, fields=fields)
            folder = _folder(out, aimed, plan)
            store = Store.create(folder, plan, backend)
        with store:
            ended = None
            if again is None:
                ended = _play(store, folder, lanes, scheduler, stops, within, as_json=as_json)
            found = draw_map(store.plan, store.trials(), backend=store.backend)
            before = None if baseline is None else read_map(baseline)
            page = write_map(found, folder)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    say(_ending(found, ended, page), as_json=as_json)
    sys.exit(_code(found, bool(newly_dangerous(before, found))))


def _aimed(every: Aimed | None, some: Aimed | None) -> Aimed:
    if (every is None) == (some is None):
        raise ValueError("say --census LINK/KIND for every bit of a message, or --sample LINK/KIND for some")
    aimed = every or some
    assert aimed is not None
    return aimed


def _folder(out: Path | None, aimed: Aimed, plan: Plan) -> Path:
    """A folder without a campaign, made. Raises OSError, StoreError from `Store.create`."""
    link = aimed.link.replace(":", "+")
    name = run_id(f"campaign-{link}-{aimed.kind}", plan.setup.seed, defences_word(plan.setup.defences))
    folder = out or Path("straybit-out") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _play(
    store: Store,
    folder: Path,
    lanes: int,
    scheduler: str | None,
    stops: tuple[str, ...],
    within: str | None,
    *,
    as_json: bool,
) -> Session:
    stop = read_stop(stops, within)
    with lanes_of(lanes, scheduler) as executor, _progress(as_json=as_json) as progress:
        if len(store.done()) < len(store.plan.flips):
            golden(store.plan, executor, store.backend)
        return conduct(store, folder, executor, stop=stop, command=command_line(), progress=progress)


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Callable[[Tally], None]]:
    """A live line on a terminal; anywhere else one a tenth of the way."""
    console = Console(stderr=as_json, highlight=False)
    said = -1

    def plain(tally: Tally) -> None:
        nonlocal said
        if (tenth := 10 * tally.done // max(tally.planned, 1)) > said:
            said = tenth
            console.print(tally.line(), soft_wrap=True)

    if not console.is_terminal:
        yield plain
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda tally: bar.update(task, description=tally.line(), completed=tally.done, total=tally.planned)


def _ending(found: Map, ended: Session | None, page: Path) -> str:
    lines = [map_text(found).rstrip()]
    if ended is not None and ended.cost.trials:
        cost = ended.cost
        lines.append(
            f"{cost.trials} trials in {cost.wall_s:.1f} s: {cost.per_second:.1f}/s on {cost.workers} worker"
            f"{'s' * (cost.workers != 1)}, {1000 * cost.cpu_per_trial_s:.1f} ms of CPU a trial"
        )
    if ended is not None and ended.stopped:
        lines.append(f"stopped: {ended.stopped}; {ended.left} trials left, --resume {page.parent} goes on")
    return "\n".join([*lines, f"map: {page}"])


def _code(found: Map, worse: bool) -> int:
    """1 for dangerous bits, which weigh more than too many INVALID trials: 2."""
    tries = found.tried + found.invalid + found.controls + found.controls_invalid
    if worse:
        return 1
    return 2 if not tries or found.invalid + found.controls_invalid > INVALID_SHARE * tries else 0
