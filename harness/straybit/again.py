"""Replay lines: the whole command that plays the same again, made from what was played."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from straybit.budgets import BUDGETS
from straybit_nodes.defences import GROUPS
from straybit_nodes.topology import Region, Topology

__all__ = ["Setting", "defences_word", "flips_again", "options_of", "run_again", "sizes_of", "topology_of"]

_USUAL = Topology()


def defences_word(names: Iterable[str]) -> str:
    """What `--defences` takes for these names: a group's name where there is one."""
    wanted = frozenset(names)
    return next((word for word, group in GROUPS.items() if group == wanted), ",".join(sorted(wanted)))


def sizes_of(topology: Topology) -> dict[str, tuple[int, int]]:
    """Servers and balancers of each region; a cluster of gossip nodes alone has no balancer in any."""
    return {region.name: (region.servers, region.balancers) for region in topology.regions}


def topology_of(sizes: Mapping[str, tuple[int, int]]) -> Topology:
    """The topology of these sizes; of none at all, the default one."""
    if not sizes:
        return _USUAL
    regions = tuple(Region(name, *size) for name, size in sizes.items())
    return Topology(regions, storage=any(region.balancers for region in regions))


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """Under what something was played: what every command that plays it again must say."""

    defences: frozenset[str]
    backend: str
    seed: int
    topology: Topology
    budgets: dict[str, float] = {}


def run_again(source: str, recovery: str, setting: Setting) -> str:
    """`straybit run` of a scenario, by name or by the path of its file.

    Raises ValueError for a topology that no option can say.
    """
    return shlex.join(["straybit", "run", source, "--recovery", recovery, *_options(setting)])


def flips_again(flips: Sequence[object], setting: Setting) -> str:
    """`straybit replay` of flips that are injected together.

    Raises ValueError for a topology that no option can say.
    """
    return shlex.join(["straybit", "replay", *map(str, flips), *_options(setting)])


def options_of(backend: str, seed: int, budgets: Mapping[str, float]) -> list[str]:
    """Options that every command which plays has; budgets where they are not the default."""
    unusual = [(name, value) for name, value in sorted(budgets.items()) if BUDGETS.get(name) != value]
    words = [word for name, value in unusual for word in ("--budget", f"{name}={_plain(value)}s")]
    return ["--backend", backend, "--seed", str(seed), *words]


def _options(setting: Setting) -> list[str]:
    usual = options_of(setting.backend, setting.seed, setting.budgets)
    return ["--defences", defences_word(setting.defences), *usual, *_size(setting.topology)]


def _plain(value: float) -> str:
    """A number without an exponent, which no budget has."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _size(topology: Topology) -> list[str]:
    """Raises ValueError for a topology that no option can say."""
    if topology == _USUAL:
        return []
    sizes = sizes_of(topology)
    if not topology.storage and len(sizes) == 1:
        (servers, _), *_ = sizes.values()
        if topology == Topology.gossip_only(servers):
            return ["--gossip-only", str(servers)]
    if sizes.keys() != {"eu", "us"} or topology != Topology.sized(**sizes):
        raise ValueError(f"no option stands for a cluster of {sizes}")
    words = ["--servers", *(str(servers) for servers, _ in sizes.values())]
    balancers = [count for _, count in sizes.values()]
    usual = [region.balancers for region in _USUAL.regions]
    return words if balancers == usual else [*words, "--balancers", *map(str, balancers)]
