"""What the oracle calls wrong."""

import msgspec
import pytest

from straybit.oracle import Entry, Originated, Wrong, wrong_values

TRUTH = Originated(address=10, status=1, generation=100, heartbeats=7)
ENTRY = Entry(address=10, status=1, load=3, generation=100, version=7)


def wrong(**changes):
    """What is wrong in a's view of b when b's entry there has these values."""
    views = {"a": {"b": msgspec.structs.replace(ENTRY, **changes)}}
    return wrong_values(views, {"b": TRUTH})


def test_what_the_owner_said_is_right():
    """Nothing is wrong in a view that holds what was originated, or less of it."""
    assert wrong() == ()
    assert wrong(version=0) == ()


def test_load_is_not_compared():
    """Load differs from moment to moment and is no state to be wrong."""
    assert wrong(load=65535) == ()


@pytest.mark.parametrize(
    ("field", "value"), [("address", 11), ("status", 3), ("generation", 101), ("generation", 99), ("version", 8)]
)
def test_a_value_never_originated_is_wrong(field, value):
    """Each compared field is wrong as soon as its owner never said the value; a version when it is ahead."""
    assert wrong(**{field: value}) == (Wrong("a", "b", field, value),)


def test_an_owner_that_repeats_a_foreign_value_is_wrong_too():
    """What an owner adopted about itself by merging stays wrong in its own view."""
    views = {"b": {"b": msgspec.structs.replace(ENTRY, address=11)}}
    assert wrong_values(views, {"b": TRUTH}) == (Wrong("b", "b", "address", 11),)


def test_a_member_that_nobody_started_is_wrong():
    """A ghost, as a flipped owner name makes it, is a wrong value of its own."""
    assert wrong_values({"a": {"ghost": ENTRY}}, {"b": TRUTH}) == (Wrong("a", "ghost", "owner", 0),)
