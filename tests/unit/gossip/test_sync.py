"""Digests and deltas: what two members still have to tell each other, and what happens when a mark is wrong."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from straybit_nodes.gossip import messages as m
from straybit_nodes.gossip.codec import encode
from straybit_nodes.gossip.sync import Sync
from straybit_nodes.gossip.view import View
from straybit_nodes.topology import GENERATION


def entry(owner="a", *, address=1, status=m.UP, load=0, version=1):
    return m.Entry(owner, address, status, load, GENERATION, version)


class Member:
    """A view with its marks: a member that does nothing but exchange."""

    def __init__(self, name, *entries, memory=1):
        self.name = name
        self.view = View(memory)
        self.sync = Sync(name, self.view)
        self.put(entry(name), *entries)

    def put(self, *entries):
        for each in entries:
            if self.view.better(each):
                self.view.put(each)

    def forget(self):
        self.view.clear()
        self.sync.clear()
        self.put(entry(self.name))

    def restarted(self):
        return Member(self.name, memory=(self.view.mark >> 40) + 7)


def exchange(caller, callee, *, lose_last=False, tamper=lambda message: message):
    """One exchange; the messages that went."""
    digest = tamper(caller.sync.open(callee.name))
    down, pending = callee.sync.answer(caller.name, digest)
    down = tamper(down)
    quiet = caller.view.mark == digest.upto
    caller.put(*down.entries)
    up = tamper(caller.sync.reply(callee.name, digest.upto, down, quiet=quiet, whole=True))
    if not lose_last:
        callee.put(*up.entries)
        callee.sync.end(pending, up, whole=True)
    return digest, down, up


def size(messages):
    return sum(len(encode(message, "gossip-1", sealed=True)) for message in messages)


@pytest.mark.parametrize(
    ("caller", "sent", "wanted"),
    [
        ((), ["a", "me"], []),
        ((entry("a", version=1),), ["me"], []),
        ((entry("a", version=0),), ["a", "me"], []),
        ((entry("a", version=2),), ["me"], ["a"]),
        ((entry("a", version=1, address=9),), ["a", "me"], ["a"]),
        ((entry("b"),), ["a", "me"], ["b"]),
        ((entry("a"), entry("me")), ["me"], []),
        ((entry("a"), entry("me", version=5)), ["me"], ["me"]),
    ],
)
def test_an_exchange_sends_what_is_lacking_and_wants_what_is_newer(caller, sent, wanted):
    """By digest alone: newer or missing entries go, older ones are wanted, ties of unequal hash do both."""
    callee = Member("me", entry("a"))
    state, _ = callee.sync.answer("x", m.Digest(tuple(each.row for each in caller)))
    assert sorted(each.owner for each in state.entries) == sent
    assert list(state.wanted) == wanted
    assert not state.everything


@pytest.mark.parametrize("changed", [0, 1, 5])
def test_an_exchange_grows_with_what_changed_and_not_with_what_is_known(changed):
    """After a first exchange, the same number of changes costs the same bytes in views of 10 and of 1,000 entries."""
    sizes = set()
    for known in (10, 1000):
        one, two = Member("one", *(entry(f"m{n}") for n in range(known))), Member("two")
        first = size(exchange(one, two))
        exchange(two, one)
        exchange(one, two)
        one.put(*(entry(f"m{n}", version=2) for n in range(changed)))
        sizes.add(size(exchange(one, two)))
        assert one.view.summary == two.view.summary
        assert first > 80 * known
    assert len(sizes) == 1
    assert sizes.pop() < 400 + 110 * changed


def test_what_was_told_is_not_told_again():
    """The next digest between two that agree has no row, in either direction."""
    one, two = Member("one", entry("a"), entry("b")), Member("two", entry("c"))
    for _ in range(2):
        exchange(one, two)
        exchange(two, one)
    assert one.sync.open("two").rows == two.sync.open("one").rows == ()


def test_who_lost_the_end_of_a_talk_is_told_everything():
    """Where the last message did not come, the callee has not heard so far, says so, and gets it the next time."""
    one, two = Member("one", entry("a")), Member("two")
    exchange(one, two, lose_last=True)
    assert "a" not in two.view.entries
    _, down, _ = exchange(one, two)
    assert down.everything
    assert "a" in two.view.entries


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_member_with_a_new_memory_is_told_everything(first):
    """After a restart or a clear, whoever calls first, the old marks are known to be void and nothing is missed."""
    one, two = Member("one", entry("a"), entry("b")), Member("two", entry("c"))
    exchange(one, two)
    exchange(two, one)
    two = two.restarted()
    exchange(one, two) if first == "one" else exchange(two, one)
    assert two.view.entries.keys() == {"one", "two", "a", "b", "c"}
    two.forget()
    exchange(one, two) if first == "one" else exchange(two, one)
    assert two.view.entries.keys() == {"one", "two", "a", "b", "c"}


def test_an_entry_that_was_refused_comes_again():
    """Whoever did not take all of a message asks for everything the next time, though nothing has changed."""
    one, two = Member("one", entry("a")), Member("two")
    digest = one.sync.open("two")
    down, pending = two.sync.answer("one", digest)
    up = one.sync.reply("two", digest.upto, down, quiet=True, whole=True)
    two.sync.end(pending, up, whole=False)
    exchange(one, two)
    assert "a" in two.view.entries


@pytest.mark.parametrize("field", ["since", "upto", "heard", "summary"])
@pytest.mark.parametrize("bit", [0, 3, 20, 41, 63])
def test_a_flipped_mark_costs_an_exchange_and_no_entry(field, bit):
    """Whatever bit of a mark flips on its way, without any check: two exchanges later both know everything."""
    one, two = Member("one", entry("a")), Member("two", entry("b"))
    exchange(one, two)
    exchange(two, one)
    one.put(entry("a", version=2))
    two.put(entry("b", version=2))

    def flip(message):
        if not hasattr(message, field) or getattr(message, field) == 0:
            return message
        return msgspec.structs.replace(message, **{field: getattr(message, field) ^ 1 << bit})

    exchange(one, two, tamper=flip)
    for _ in range(2):
        exchange(one, two)
        exchange(two, one)
    assert one.view.entries == two.view.entries


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32))
def test_whatever_happens_in_between_all_end_level(seed):
    """News, ties, lost ends, restarts in any order between four members: a few exchanges later all views are equal."""
    rng = Random(seed)
    members = [Member(name, memory=number) for number, name in enumerate("abcd", 1)]
    for _ in range(rng.randrange(30)):
        one, two = rng.sample(members, 2)
        match rng.randrange(6):
            case 0 | 1:
                exchange(one, two, lose_last=rng.random() < 0.2)
            case 2 | 3:
                owner, version = rng.choice("abcdefg"), rng.randrange(5)
                one.put(entry(owner, version=version, address=rng.randrange(3), status=rng.randrange(3)))
            case 4:
                members[members.index(one)] = one.restarted()
            case 5:
                one.forget()
    for _ in range(3):
        for one in members:
            for two in members:
                if one is not two:
                    exchange(one, two)
    assert len({frozenset(member.view.entries.items()) for member in members}) == 1
    assert len({member.view.summary for member in members}) == 1


def test_marks_are_bounded(monkeypatch):
    """Marks of more talkers than a view has room for are not kept."""
    monkeypatch.setattr(View, "LIMIT", 3)
    one = Member("one")
    for number in range(5):
        exchange(Member(f"x{number}"), one)
    assert sum(bool(one.sync.open(f"x{number}").since) for number in range(5)) == 3
