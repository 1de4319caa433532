"""Replay lines: each is read back by the command it names, and means what was played."""

import shlex

import click
import pytest

from straybit.again import Setting, defences_word, flips_again, run_again, sizes_of, topology_of
from straybit.cli import cli
from straybit.runner import RunOptions, replay_line
from straybit_nodes.defences import GROUPS
from straybit_nodes.topology import Region, Topology

FLIPS = ("1/gossip-1:gossip-2/up/state/0/version/62", "1/lb-1:storage-2/up/request/0/body/9+10")
TOPOLOGIES = [
    Topology(),
    Topology.sized((4, 1), (6, 2)),
    Topology.sized((3, 2), (5, 3)),
    Topology.gossip_only(6),
]


def setting(**more):
    usual = {"defences": frozenset(), "backend": "process", "seed": 0, "topology": Topology(), "budgets": {}}
    return Setting(**{**usual, **more})


def parsed(line):
    """The parameters that click reads from a line; a line it cannot read raises."""
    name, command, *words = shlex.split(line)
    assert name == "straybit"
    found = cli.get_command(click.Context(cli), command)
    with found.make_context(command, words) as context:
        return context.params


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_line_of_flips_is_read_back(topology):
    """Flips, defences, seed, budgets and sizes all come back as they were played."""
    names = frozenset({"value-bounds", "gossip-crc"})
    budgets = {"detected": 2.0, "recovered": 0.25}
    line = flips_again(FLIPS, setting(defences=names, seed=7, topology=topology, budgets=budgets))
    read = parsed(line)
    assert read["ids"] == FLIPS
    assert read["defences"] == ("gossip-crc,value-bounds", names)
    assert (read["backend"], read["seed"], read["budgets"]) == ("process", 7, ("recovered=0.25s",))
    if topology.storage:
        sized = zip(read["servers"], read["balancers"], strict=True)
        assert dict(zip(("eu", "us"), sized, strict=True)) == sizes_of(topology)
    else:
        assert read["gossip_only"] == 6


@pytest.mark.parametrize("topology", [t for t in TOPOLOGIES if t.storage])
def test_a_line_of_a_scenario_is_read_back(topology, tmp_path):
    """A user's file is named by its path, spaces and all."""
    file = tmp_path / "my scenario.py"
    file.write_text("from straybit import scenario\n@scenario('mine')\ndef mine(run): pass\n")
    read = parsed(run_again(str(file), "rolling", setting(topology=topology, seed=3)))
    assert read["played"][0].name == "mine"
    assert read["played"][1] == str(file)
    assert (read["recovery"], read["seed"]) == ("rolling", 3)
    assert read["servers"] == tuple(region.servers for region in topology.regions)


def test_a_line_is_short_where_nothing_is_unusual():
    """Defaults of size and budget are not repeated."""
    assert flips_again(FLIPS[:1], setting()) == f"straybit replay {FLIPS[0]} --defences none --backend process --seed 0"


def test_a_cluster_that_no_option_stands_for_has_no_line():
    """Better no command than one that plays something else."""
    odd = Topology((Region("mars", 3, 1), Region("us", 5, 2)))
    with pytest.raises(ValueError, match="no option stands for a cluster of"):
        flips_again(FLIPS, setting(topology=odd))
    assert replay_line("june-2008", RunOptions(topology=odd)) == ""


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_topology_is_read_back_from_its_sizes(topology):
    """What the journal says of sizes is enough to have the same cluster again."""
    assert topology_of(sizes_of(topology)) == topology
    assert topology_of({}) == Topology()


def test_a_group_of_defences_goes_by_its_name():
    """`2008` is easier to read than five names, and means the same."""
    for word, names in GROUPS.items():
        assert defences_word(names) == word
    assert defences_word(["value-bounds", "gossip-crc"]) == "gossip-crc,value-bounds"
