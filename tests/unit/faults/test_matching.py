"""Which messages a content toxic takes."""

from __future__ import annotations

from typing import Any

import pytest

from straybit_faults.toxics import TOXICS, Armed, Matcher
from straybit_faults.wire import Direction, Field, FieldClass, Message


def matcher(**attributes: Any) -> Matcher:
    """A bitflip on messages called `m`."""
    toxic = TOXICS["bitflip"](**{"wire": "raw", "message": "m", "field": "f", "bit": 0, **attributes})
    return Matcher(Armed("t", "bitflip", Direction.UP, toxic, toxicity=1, since=0), "a:b")


def taken(one: Matcher, count: int = 10) -> list[int]:
    """Ordinals it takes of `count` messages."""
    message = Message("m", 0, 1, (Field("f", 0, 1),))
    decisions = [one.judge(message, 0) for _ in range(count)]
    return [decision.ordinal for decision in decisions if decision is not None]


@pytest.mark.parametrize(
    ("attributes", "ordinals"),
    [
        ({}, [0]),
        ({"ordinal": 3}, [3]),
        ({"ordinal": 3, "count": 2}, [3, 4]),
        ({"every": 3}, [0, 3, 6, 9]),
        ({"ordinal": 1, "every": 4, "count": 2}, [1, 5]),
        ({"every": 2, "once": True}, [0]),
        ({"every": 2, "until": 5}, [0, 2, 4]),
        ({"count": 0}, []),
        ({"rate": 1.0}, list(range(10))),
        ({"rate": 1.0, "count": 3}, [0, 1, 2]),
        ({"rate": 0.0}, []),
    ],
)
def test_ordinals(attributes: Any, ordinals: list[int]) -> None:
    """Aims by ordinal, every n-th, so many, until, and drawn."""
    assert taken(matcher(**attributes)) == ordinals


def test_other_kinds_do_not_count() -> None:
    """Ordinals are of one kind."""
    one = matcher(ordinal=1)
    assert one.judge(Message("other", 0, 1, ()), 0) is None
    assert taken(one) == [1]


def test_an_owner_counts_messages_that_carry_its_entry() -> None:
    """A field that names an owner is not counted in messages without it; a bare one is the sender's."""
    both = Message("m", 0, 2, (Field("x.f", 0, 1), Field("y.f", 1, 1)), sender="x")
    mine = Message("m", 0, 1, (Field("x.f", 0, 1),), sender="x")
    named = matcher(field="y.f", ordinal=1)
    assert [named.judge(message, 0) for message in (both, mine, mine)] == [None] * 3
    decision = named.judge(both, 0)
    assert decision is not None
    assert decision.ordinal == 1
    bare = matcher(ordinal=2)
    assert [bare.judge(message, 0) is not None for message in (both, mine, both)] == [False, False, True]


def test_guard_bits_are_drawn_only_when_asked_for() -> None:
    """Without classes payload alone is hit; with them, they alone."""
    fields = (Field("kind", 0, 1, FieldClass.TYPE), Field("body", 1, 9), Field("sum", 10, 4, FieldClass.CHECKSUM))
    message = Message("m", 0, 14, fields)

    def hit(**attributes: Any) -> set[str]:
        one = matcher(field=None, bit=None, rate=1.0, **attributes)
        names = set()
        for number in range(200):
            decision = one.judge(Message("m", 0, 14, fields, identity=str(number)), 0)
            assert decision is not None
            field, changes = one.armed.attributes.pick(message, decision.draws)
            assert changes is not None
            assert all(0 <= change.at < field.length for change in changes)
            names.add(field.name)
        return names

    assert hit() == {"body"}
    assert hit(classes=["type", "checksum"]) == {"kind", "sum"}
    assert hit(flips=3) == {"body"}
