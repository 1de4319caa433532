"""Shrinks a trial: the fewest nodes, the earliest message, the fewest bits and the shortest run that end the same.

One dimension after the other, the boldest candidate first, and again until none that is smaller still ends so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import msgspec

from straybit.again import defences_word
from straybit.campaign.spec import TrialSpec
from straybit.outcome import DANGEROUS, Outcome
from straybit.records import Trial
from straybit_faults.flip import FieldAim, Flip, Link

__all__ = ["TRIALS_MAX", "Shrunk", "paste", "shrink"]

TRIALS_MAX = 500
"""Candidates that are played at most."""
BITS_MAX = 3
"""Of a flip with more bits, so many at a time are tried instead: more are rarely worse, and fewer are rarely needed."""
_MEMBER = "gossip-"

Play = Callable[[TrialSpec], Trial]


class Shrunk(msgspec.Struct, frozen=True):
    """The smallest trial found, its record, and how many candidates were played."""

    spec: TrialSpec
    trial: Trial
    played: int


def shrink(spec: TrialSpec, play: Play) -> Shrunk:
    """The smallest trial that ends as `spec` does. Raises ValueError for one that is INVALID."""
    first = play(spec)
    if first.outcome is Outcome.INVALID:
        raise ValueError(f"the trial is INVALID, and shrinking it proves nothing: {first.why}")
    best, record, played = spec, first, 1
    smaller = True
    while smaller and played < TRIALS_MAX:
        smaller = False
        for candidate in _candidates(best):
            played += 1
            now = play(candidate)
            if _alike(first, now):
                best, record, smaller = candidate, now, True
                break
            if played >= TRIALS_MAX:
                break
    return Shrunk(best, record, played)


def _alike(before: Trial, now: Trial) -> bool:
    return (before.outcome, before.detected_by) == (now.outcome, now.detected_by)


def _candidates(spec: TrialSpec) -> Iterator[TrialSpec]:
    """Smaller trials, the boldest first."""
    setup = spec.setup
    for nodes in range(2, setup.nodes):
        renamed = _renamed(spec, nodes)
        if renamed is not None:
            yield renamed
    for flips in (*_fewer_flips(spec), *_earlier(spec), *_fewer_bits(spec)):
        yield msgspec.structs.replace(spec, flips=flips)
    if setup.aftershock:
        yield _with(spec, aftershock=False)
    for rounds in range(setup.rounds):
        yield _with(spec, rounds=rounds)


def _with(spec: TrialSpec, **changes: object) -> TrialSpec:
    return msgspec.structs.replace(spec, setup=msgspec.structs.replace(spec.setup, **changes))


def _renamed(spec: TrialSpec, nodes: int) -> TrialSpec | None:
    """The same flips among `nodes` members: those that they name become the first ones; None where that is too few."""
    flips = spec.parsed()
    names: dict[str, str] = {}
    for flip in flips:
        owner = flip.aim.field.partition(".")[0] if isinstance(flip.aim, FieldAim) else ""
        for name in (flip.link.caller, flip.link.callee, owner):
            if name.startswith(_MEMBER) and name not in names:
                names[name] = f"{_MEMBER}{len(names) + 1}"
    if len(names) > nodes:
        return None
    return _with(msgspec.structs.replace(spec, flips=tuple(str(_moved(f, names)) for f in flips)), nodes=nodes)


def _moved(flip: Flip, names: dict[str, str]) -> Flip:
    link = Link(names[flip.link.caller], names[flip.link.callee])
    aim = flip.aim
    if isinstance(aim, FieldAim):
        owner, dot, field = aim.field.partition(".")
        aim = msgspec.structs.replace(aim, field=f"{names.get(owner, owner)}{dot}{field}")
    return msgspec.structs.replace(flip, link=link, aim=aim)


def _fewer_flips(spec: TrialSpec) -> Iterator[tuple[str, ...]]:
    if len(spec.flips) > 1:
        yield from ((flip,) for flip in spec.flips)


def _earlier(spec: TrialSpec) -> Iterator[tuple[str, ...]]:
    """An earlier message of the same kind."""
    for place, flip in enumerate(spec.parsed()):
        if isinstance(flip.aim, FieldAim):
            for ordinal in range(flip.aim.ordinal):
                yield _put(spec, place, flip, ordinal=ordinal)


def _fewer_bits(spec: TrialSpec) -> Iterator[tuple[str, ...]]:
    for place, flip in enumerate(spec.parsed()):
        if isinstance(flip.aim, FieldAim):
            for count in range(1, min(len(flip.aim.bits), BITS_MAX + 1)):
                for bits in itertools.combinations(flip.aim.bits, count):
                    yield _put(spec, place, flip, bits=bits)


def _put(spec: TrialSpec, place: int, flip: Flip, **changes: object) -> tuple[str, ...]:
    changed = msgspec.structs.replace(flip, aim=msgspec.structs.replace(flip.aim, **changes))
    return (*spec.flips[:place], str(changed), *spec.flips[place + 1 :])


def paste(shrunk: Shrunk) -> str:
    """A test of at most 15 lines that fails while the trial ends dangerously, and holds any other end fast."""
    spec, trial = shrunk.spec, shrunk.trial
    setup = spec.setup
    options = [f"nodes={setup.nodes}", f'defences="{defences_word(setup.defences)}"']
    options += [f"seed={setup.seed}", f"rounds={setup.rounds}"] + ([] if setup.aftershock else ["aftershock=False"])
    flips = "".join(f'        "{flip}",\n' for flip in spec.flips)
    dangerous = trial.outcome in DANGEROUS
    check = "trial.outcome not in DANGEROUS" if dangerous else f'trial.outcome == "{trial.outcome}"'
    names = "DANGEROUS, stepped" if dangerous else "stepped"
    return (
        f"from straybit import {names}\n\n\n"
        f"def test_{_name(spec)}():\n"
        f'    """It ended {trial.outcome}: {_short(trial.why)}"""\n'
        f"    trial = stepped(\n{flips}        {', '.join(options)},\n    )\n"
        f"    assert {check}, trial.why\n"
    )


def _name(spec: TrialSpec) -> str:
    aim = spec.parsed()[0].aim
    words = (aim.kind, aim.field.rpartition(".")[2], *map(str, aim.bits)) if isinstance(aim, FieldAim) else ("flip",)
    return "_".join(word.replace("-", "_").replace(".", "_") for word in words)


def _short(why: str) -> str:
    return f"{why}." if len(why) <= 70 else f"{why[:67]}..."
