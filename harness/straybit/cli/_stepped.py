"""Stepped trials by their ids: found in a campaign's folder, or made of flips; and played again."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from straybit.campaign.spec import Setup, TrialSpec
from straybit.campaign.stages import open_stage
from straybit.campaign.stepped import run_tries
from straybit.campaign.store import DATABASE, Store, StoreError
from straybit.cli._campaigns import one_line, say
from straybit.faults import check_flip
from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Trial
from straybit_nodes.topology import Topology

__all__ = ["campaign_trial", "is_campaign_trial", "replay_stepped", "spec_of"]

_ID = re.compile(r"[0-9a-f]{6}-[0-9]+")


def is_campaign_trial(text: str) -> bool:
    """Whether it looks like the id of a campaign's trial: six hex digits, and a number."""
    return _ID.fullmatch(text) is not None


def campaign_trial(id_: str, folder: Path | None) -> tuple[TrialSpec, Trial | None, str]:
    """The trial's spec, its record where it was played, and its backend.

    It is looked for in `folder`, else in every campaign below straybit-out, the newest first. Raises StoreError.
    """
    found = sorted(Path("straybit-out").glob(f"**/{DATABASE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for place in [folder] if folder else [path.parent for path in found]:
        try:
            store = Store(place)
        except StoreError:
            if folder:
                raise
            continue
        with store:
            spec = next((spec for spec in store.plan.trials() if spec.id == id_), None)
            if spec is not None:
                return spec, next((t for t in store.trials() if t.id == id_), None), store.backend
    where = folder or "straybit-out"
    raise StoreError(f"no campaign in {where} has a trial {id_!r}; its map.json names them, --run its folder")


def spec_of(ids: tuple[str, ...], folder: Path | None, setup: Setup) -> tuple[TrialSpec, Trial | None, str]:
    """A campaign's trial with its record and backend, or these flips under this setup with neither.

    Raises StoreError, FlipIdError.
    """
    if len(ids) == 1 and is_campaign_trial(ids[0]):
        return campaign_trial(ids[0], folder)
    spec = TrialSpec(id="t1", flips=ids, setup=setup)
    for flip in spec.parsed():
        check_flip(flip, Topology.gossip_only(setup.nodes))
    return spec, None, ""


def replay_stepped(ids: tuple[str, ...], folder: Path | None, setup: Setup, backend: str, *, as_json: bool) -> int:
    """Play it again and say how it ended: exit code 0 when it ends as before, 1 when not, 2 when it was INVALID.

    Without an earlier record 1 stands for a dangerous end. `backend` empty: the one it was played on, or `sim`.
    """
    with one_line(), ExitStack() as taken:
        spec, before, where = spec_of(ids, folder, setup)
        now = run_tries(spec, open_stage(backend or where or "sim", spec.setup, taken))[-1]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(now), indent=1).decode())
    say(f"outcome {now.outcome}: {now.why}", as_json=as_json)
    if before is not None:
        same = "the same" if before.outcome is now.outcome else "not the same"
        say(f"trial {spec.id}: {same}: {before.outcome} then, {now.outcome} now", as_json=as_json)
    if now.outcome is Outcome.INVALID:
        return 2
    return int(now.outcome in DANGEROUS if before is None else before.outcome is not now.outcome)
