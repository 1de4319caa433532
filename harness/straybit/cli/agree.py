"""`straybit agree`: the same flips on two backends, and the share that ended alike."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import msgspec

from straybit import records
from straybit.again import defences_word, sizes_of
from straybit.campaign.agree import Agreement, agreement, chosen
from straybit.campaign.executors import Lanes
from straybit.campaign.spec import TrialSpec
from straybit.campaign.stages import STAGES
from straybit.cli._campaigns import LANES_MAX, lanes_of, one_line, read_share, say
from straybit.cli._options import checked, fresh_folder
from straybit.journal import Journal
from straybit.records import Trial
from straybit.runner import command_line, run_id, started
from straybit_nodes.topology import Topology

__all__ = ["command"]

INVALID_SHARE = 0.01


def read_backends(text: str) -> tuple[str, ...]:
    """Names between commas; a name may come twice. Raises ValueError."""
    names = tuple(name for name in text.split(",") if name)
    unknown = sorted(set(names) - STAGES.keys())
    if unknown or len(names) < 2:
        raise ValueError(f"{text!r} is not two backends or more, as sim,process; there are {', '.join(STAGES)}")
    return names


@click.command("agree")
@click.option("--backends", default="sim,process", show_default=True, callback=checked(read_backends))
@click.option("--sample", "size", type=click.IntRange(1), default=200, show_default=True, help="How many flips.")
@click.option("--times", type=click.IntRange(1, 1000), default=1, show_default=True, help="On the last backend.")
@click.option("--nodes", type=click.IntRange(3, 100), default=3, show_default=True, help="Gossip nodes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides which flips.")
@click.option("--lanes", type=click.IntRange(1, LANES_MAX), default=1, show_default=True, help="Side by side.")
@click.option("--at-least", default="99%", show_default=True, callback=checked(read_share), help="Must agree.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [straybit-out/RUN ID].")
@click.option("--json", "as_json", is_flag=True, help="Print the agreement as JSON, and nothing else.")
def command(
    backends: tuple[str, ...],
    size: int,
    times: int,
    nodes: int,
    seed: int,
    lanes: int,
    at_least: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Play the same flips on each backend and say where they end alike.

    Half of them run without defences, all are stratified by field, and each backend keeps a journal of its own.
    Where the simulator is not among the backends, half of them are in requests and replies of a small cluster.

    Exits 1 when fewer agree than --at-least, 2 when more than 1 % were INVALID or one outcome has more than 60 %.
    """
    folder = fresh_folder(out, run_id("agree", seed, *backends))
    with one_line():
        specs = chosen(size, nodes=nodes, seed=seed, served="sim" not in backends)
        played: dict[str, dict[str, Trial]] = {}
        for name, backend in _columns(backends, times):
            with lanes_of(lanes, None) as executor:
                played[name] = _play(name, backend, specs, executor, folder)
            say(f"{name}: {len(specs)} trials played", as_json=as_json)
        found = agreement(specs, played)
        data = msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
        (folder / "agreement.json").write_text(data + "\n")
    if as_json:
        click.echo(data)
    say("\n".join([*_lines(found), f"journals: {folder}"]), as_json=as_json)
    sys.exit(_code(found, at_least))


def _columns(backends: tuple[str, ...], times: int) -> Iterator[tuple[str, str]]:
    """(name, backend) of each time that all flips are played; a name is a folder of its own."""
    for number, backend in enumerate((*backends, *backends[-1:] * (times - 1))):
        taken = (*backends, *backends[-1:] * (times - 1))[:number].count(backend)
        yield (f"{backend}-{taken + 1}" if taken else backend), backend


def _play(name: str, backend: str, specs: tuple[TrialSpec, ...], executor: Lanes, folder: Path) -> dict[str, Trial]:
    """Every spec on one backend, its tries in a journal as they end."""
    place = folder / name
    place.mkdir()
    found: dict[str, Trial] = {}
    setup = specs[0].setup
    head = started(
        "agree",
        command=command_line(),
        id=f"{folder.name}-{name}",
        backend=backend,
        seed=setup.seed,
        servers=sizes_of(Topology.gossip_only(setup.nodes)),
    )
    with Journal(place / "journal.ndjson") as journal:
        journal.write(head)
        with closing(executor.run(backend, specs)) as ended:
            for done in ended:
                for trial in done.tries:
                    journal.write(trial)
                found[done.trial.id] = done.trial
        journal.write(records.RunEnded())
    return found


def _lines(found: Agreement) -> Iterator[str]:
    yield f"{' and '.join(found.backends[:6])}: {_share(found.overall.same, found.overall.flips)} ended alike"
    for row in (*found.rows, found.overall):
        yield f"  {row.name:<9} {_share(row.same, row.flips)} ({100 * row.low:.1f} to {100 * row.high:.1f})"
    yield f"  {found.undefended} of {found.overall.flips} without defences, {found.invalid} INVALID, in no share"
    for each in found.differing:
        yield f"{each.flip} with {defences_word(each.defences)}:"
        for backend, trial in each.trials.items():
            yield f"  {backend:<9} {trial.outcome}: {trial.why}"
    if found.lopsided:
        yield f"no verdict: {found.lopsided}, so agreeing proves little; take another seed or a larger sample"


def _share(same: int, flips: int) -> str:
    return f"{same} of {flips}, {100 * same / flips:.1f} %" if flips else "none"


def _code(found: Agreement, at_least: float) -> int:
    if found.overall.flips and found.share < at_least:
        return 1
    tried = found.overall.flips + found.invalid
    return 2 if found.lopsided or found.invalid > INVALID_SHARE * tried or not found.overall.flips else 0
