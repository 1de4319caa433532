"""Which storage nodes a balancer tries."""

from straybit_nodes.balancer.route import Router
from straybit_nodes.storage.placement import holders
from straybit_nodes.topology import Topology

TOPOLOGY = Topology.sized()
US = [f"storage-{n}" for n in range(4, 9)]
UP = {f"gossip-{n}": 1 for n in range(1, 9)}


def router(order=tuple):
    return Router(TOPOLOGY.service("lb-2"), TOPOLOGY.members(), order)


def test_an_objects_holders_are_tried_best_first():
    """Candidates for a key are its holders in its own region, in the order every balancer agrees on."""
    assert router().candidates("GET", "/photos/k", UP, ()) == holders(US, "photos", "k")


def test_marked_and_unknown_members_come_last():
    """A holder that gossip doubts is tried when nobody better is left."""
    first, second, third = holders(US, "photos", "k")
    member = router().member
    assert router().candidates("PUT", "/photos/k", UP, {member(first)}) == (second, third, first)
    known = {name: status for name, status in UP.items() if name != member(second)}
    assert router().candidates("PUT", "/photos/k", known, ()) == (first, third, second)


def test_members_that_are_not_up_are_left_out():
    """Gossip's word that a member does not serve is taken."""
    first, second, third = holders(US, "photos", "k")
    assert router().candidates("GET", "/photos/k", {**UP, router().member(first): 0}, ()) == (second, third)


def test_those_that_failed_lately_come_behind():
    """A holder that failed a moment ago is tried behind the others."""
    first, second, third = holders(US, "photos", "k")
    late = router(lambda names: sorted(names, key=lambda name: name == first))
    assert late.candidates("GET", "/photos/k", UP, ()) == (second, third, first)


def test_requests_without_a_key_go_to_all_in_turn():
    """Bucket requests, and those that cannot be read, are spread over the region."""
    turns = router()
    firsts = [turns.candidates("GET", target, UP, ())[0] for target in ("/", "/photos", "/UPPER", "*", "/%FF/x")]
    assert sorted(firsts) == US
