"""What a seed decides about a message."""

import pytest

from straybit_faults.draw import draw
from straybit_faults.wire import Direction

UP = Direction.UP


def test_a_draw_depends_on_seed_direction_and_identity_alone() -> None:
    """Equal inputs give equal draws, and each input matters."""
    assert draw(1, UP, "PUT /b/k") == draw(1, UP, "PUT /b/k")
    others = {draw(2, UP, "PUT /b/k"), draw(1, Direction.DOWN, "PUT /b/k"), draw(1, UP, "PUT /b/l")}
    assert draw(1, UP, "PUT /b/k") not in others
    assert len(others) == 3


def test_verdicts_come_at_their_rates() -> None:
    """Of many messages the share that is hit, or is a control, is the rate that was asked for."""
    verdicts = [draw(7, UP, f"PUT /b/{number}").verdict(0.2, 0.1) for number in range(5_000)]
    assert 0.18 < verdicts.count("hit") / 5_000 < 0.22
    assert 0.085 < verdicts.count("control") / 5_000 < 0.115


def test_rates_of_none_and_all_are_exact() -> None:
    """Rate 0 hits nothing and rate 1 everything."""
    draws = [draw(7, UP, str(number)) for number in range(1_000)]
    assert {one.verdict(0.0) for one in draws} == {"pass"}
    assert {one.verdict(1.0) for one in draws} == {"hit"}


def test_places_and_masks_cover_their_range_and_never_leave_it() -> None:
    """Bytes are within the length, masks change something, bits are of a byte."""
    draws = [draw(7, UP, str(number)) for number in range(5_000)]
    assert {one.byte(10) for one in draws} == set(range(10))
    assert {one.mask() for one in draws} == set(range(1, 256))
    assert {one.bit() for one in draws} == set(range(8))


def test_an_empty_field_has_nothing_to_draw() -> None:
    """Asking for a byte of no bytes is refused."""
    with pytest.raises(ValueError, match="empty field"):
        draw(7, UP, "x").byte(0)
