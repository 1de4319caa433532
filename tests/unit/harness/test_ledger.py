"""The ledger: which values a key may have, by what was acknowledged, refused or never answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit.ledger import Ledger, Verdict, digest, payload


@pytest.fixture
def ledger():
    return Ledger(seed=7)


def acked(ledger, key, data):
    ledger.ack(ledger.begin(key, data))


def test_acknowledged_value_is_right(ledger):
    """What was acknowledged last is right, anything else is wrong, absence is a loss."""
    acked(ledger, "k", b"old")
    acked(ledger, "k", b"new")
    assert ledger.check("k", b"new") is Verdict.RIGHT
    assert ledger.check("k", b"old") is Verdict.WRONG
    assert ledger.check("k", None) is Verdict.LOST


def test_key_never_written_is_rightly_absent(ledger):
    """A key nobody wrote may only be absent."""
    assert ledger.check("k", None) is Verdict.RIGHT
    assert ledger.check("k", b"") is Verdict.WRONG


def test_unanswered_write_may_be_there_or_not(ledger):
    """A write that nobody answered is neither lost nor wrong, before and after other writes."""
    acked(ledger, "k", b"old")
    ledger.begin("k", b"unanswered")
    assert ledger.check("k", b"unanswered") is ledger.check("k", b"old") is Verdict.RIGHT
    acked(ledger, "k", b"new")
    assert ledger.check("k", b"unanswered") is ledger.check("k", b"new") is Verdict.RIGHT
    assert ledger.check("k", b"old") is Verdict.WRONG


def test_refused_write_must_not_be_there(ledger):
    """A value that was refused is wrong wherever it turns up."""
    ledger.refuse(ledger.begin("k", b"refused"))
    assert ledger.check("k", b"refused") is Verdict.WRONG
    assert ledger.check("k", None) is Verdict.RIGHT


def test_errors_are_no_values(ledger):
    """A read that failed says nothing about the value."""
    acked(ledger, "k", b"x")
    assert ledger.check("k", TimeoutError()) is Verdict.ERROR


def test_deleted_key_is_absent(ledger):
    """After an acknowledged delete the value is wrong and absence right."""
    acked(ledger, "k", b"x")
    acked(ledger, "k", None)
    assert ledger.check("k", None) is Verdict.RIGHT
    assert ledger.check("k", b"x") is Verdict.WRONG


def test_of_two_overlapping_writes_either_may_win(ledger):
    """Two writes that were under way together may have been ordered either way."""
    first, second = ledger.begin("k", b"first"), ledger.begin("k", b"second")
    ledger.ack(second)
    ledger.ack(first)
    assert ledger.check("k", b"first") is ledger.check("k", b"second") is Verdict.RIGHT
    assert ledger.check("k", None) is Verdict.LOST


def test_read_that_began_earlier_may_see_the_older_value(ledger):
    """A read that a write overlapped may have seen either value, but nothing older."""
    acked(ledger, "k", b"oldest")
    acked(ledger, "k", b"old")
    since = ledger.mark()
    acked(ledger, "k", b"new")
    assert ledger.check("k", b"old", since) is ledger.check("k", b"new", since) is Verdict.RIGHT
    assert ledger.check("k", b"oldest", since) is Verdict.WRONG


def test_acknowledged_keys_are_those_that_must_be_there(ledger):
    """A scan for losses asks for exactly the keys that cannot rightly be absent."""
    acked(ledger, "there", b"x")
    acked(ledger, "deleted", b"x")
    acked(ledger, "deleted", None)
    ledger.begin("perhaps", b"x")
    ledger.refuse(ledger.begin("refused", b"x"))
    assert ledger.acknowledged() == ("there",)
    assert ledger.keys() == ("deleted", "perhaps", "refused", "there")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=4), st.sampled_from(["ack", "open", "refuse"]))))
def test_one_writer_at_a_time_reads_its_last_acknowledged_write(writes):
    """For writes one after the other, permitted are the last acknowledged value and every unanswered one."""
    ledger = Ledger()
    model: dict[str, tuple[bytes | None, set[bytes]]] = {key: (None, set()) for key in "abc"}
    for key, data, end in writes:
        write = ledger.begin(key, data)
        last, unanswered = model[key]
        if end == "ack":
            ledger.ack(write)
            model[key] = data, unanswered
        elif end == "refuse":
            ledger.refuse(write)
        else:
            unanswered.add(data)
    for key, (last, unanswered) in model.items():
        permitted = {last, *unanswered}
        assert ledger.expected(key) == {None if value is None else digest(value) for value in permitted}


def test_payload_depends_on_seed_key_and_number_alone():
    """A payload can be made again, and is another for another seed, key or number."""
    assert payload(1, "k", 1 << 20) == payload(1, "k", 1 << 20)
    assert len({payload(1, "k", 32), payload(2, "k", 32), payload(1, "l", 32), payload(1, "k", 32, 1)}) == 4
    assert payload(1, "k", 8).hex() == "2038eeda3336dac2"
