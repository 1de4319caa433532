"""The journal notices whatever happened to it after it was written."""

import threading
from itertools import count, permutations
from pathlib import Path

import google_crc32c
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from straybit.journal import Journal, JournalDamaged, JournalRefused, read_journal
from straybit.records import EVENTS, Alarm, Expectation, Interrupted, LogLine, RunEnded, RunStarted, Sample

STARTED = RunStarted(
    straybit="0.1.0", command="run", target="reference", scenario="s", backend="process", seed=1, run_id="r", date="d"
)
BODY = [
    Alarm(name="gossip-alarm", culprit="gossip-3", at_s=1.5),
    Interrupted(),
    Sample(region="eu", at_s=0, ok=1, total=2),
]


def write(path: Path, records) -> bytes:
    ticks = count()
    with Journal(path, start=0.0, clock=lambda: next(ticks) / 4) as journal:
        for record in records:
            journal.write(record)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.ndjson"


def damaged(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises((JournalDamaged, JournalRefused)) as caught:
        read_journal(path)
    assert isinstance(caught.value, JournalDamaged), caught.value
    return str(caught.value)


def test_what_is_written_is_read(path):
    """Every record comes back as it was, numbered from 0, with its time."""
    records = [STARTED, *BODY, RunEnded()]
    write(path, records)
    entries = read_journal(path)
    assert [entry.record for entry in entries] == records
    assert [entry.seq for entry in entries] == [0, 1, 2, 3, 4]
    assert [entry.t for entry in entries] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_line_reads_as_documented(path):
    """A line is seq, t, event, its members, and last the crc over all lines so far without their crc members."""
    first, second = write(path, [STARTED, BODY[0]]).splitlines()
    assert second.startswith(
        b'{"seq":1,"t":0.250000,"event":"alarm","name":"gossip-alarm","culprit":"gossip-3","at_s":1.5,"crc":"'
    )
    bare = [line[: line.rindex(b',"crc"')] + b"}" for line in (first, second)]
    assert msgspec.json.decode(second)["crc"] == f"{google_crc32c.value(b''.join(bare)):08x}"


def test_lines_are_flushed_one_by_one(path):
    """A line is in the file as soon as write returns, so that a killed run leaves everything it said."""
    with Journal(path) as journal:
        journal.write(STARTED)
        assert path.read_bytes().count(b"\n") == 1


def test_every_single_bit_flip_is_noticed(path):
    """No bit of a small journal can be flipped unnoticed, and the message names the line it is in."""
    data = write(path, [STARTED, *BODY, RunEnded()])
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        line = data[: bit // 8].count(b"\n") + 1
        assert f"line {line}:" in damaged(path, bytes(changed)), f"bit {bit}"


def test_every_removed_line_is_noticed(path):
    """Whichever line is taken out, the first and the last among them."""
    lines = write(path, [STARTED, *BODY, RunEnded()]).splitlines(keepends=True)
    for place in range(len(lines)):
        message = damaged(path, b"".join(lines[:place] + lines[place + 1 :]))
        assert f"line {place + 1}:" in message


def test_every_doubled_line_is_noticed(path):
    """A line that stands twice is one too many, wherever its copy goes."""
    lines = write(path, [STARTED, *BODY, RunEnded()]).splitlines(keepends=True)
    for line in lines:
        for place in range(len(lines) + 1):
            damaged(path, b"".join([*lines[:place], line, *lines[place:]]))


def test_every_other_order_is_noticed(path):
    """No order of the lines but the written one is accepted."""
    lines = write(path, [STARTED, *BODY, RunEnded()]).splitlines(keepends=True)
    for order in permutations(lines):
        if list(order) != lines:
            assert "lines were removed, doubled or moved" in damaged(path, b"".join(order))


def test_a_line_of_another_journal_is_noticed(path, tmp_path):
    """A line that is right by itself, at the right place, but of another run does not fit to the lines before it."""
    ours = write(path, [STARTED, *BODY, RunEnded()]).splitlines(keepends=True)
    other = [Expectation(text="x", met=True), *BODY[1:], RunEnded()]
    theirs = write(tmp_path / "other", [STARTED, *other]).splitlines(keepends=True)
    for place in range(2, len(ours)):
        damaged(path, b"".join([*ours[:place], theirs[place], *ours[place + 1 :]]))


def test_every_cut_is_noticed(path):
    """A journal that ends early, in a line or between two, is never taken for whole."""
    data = write(path, [STARTED, *BODY, RunEnded()])
    for length in range(len(data)):
        message = damaged(path, data[:length])
        assert "cut short" in message or "run-ended" in message


def test_the_entries_before_the_damage_are_kept(path):
    """A damaged journal still tells what came before the damage, for a page that says so."""
    data = write(path, [STARTED, *BODY])
    path.write_bytes(data)
    with pytest.raises(JournalDamaged, match="run-ended") as caught:
        read_journal(path)
    assert [entry.record for entry in caught.value.intact] == [STARTED, *BODY]


def test_another_schema_is_refused_with_a_clear_word(path):
    """A whole journal of another schema is refused by its number, not called damaged."""
    write(path, [msgspec.structs.replace(STARTED, schema=2), RunEnded()])
    with pytest.raises(JournalRefused, match="schema 2, and this straybit reads 1"):
        read_journal(path)


def test_a_journal_begins_with_its_run(path):
    """Without run-started nobody knows what ran, so that is damage."""
    assert "where run-started belongs" in damaged(path, write(path, [BODY[0], RunEnded()]))


def test_nothing_follows_the_runs_end(path):
    """A writer that goes on after run-ended is a writer that nobody waited for."""
    message = damaged(path, write(path, [STARTED, RunEnded(), BODY[0], RunEnded()]))
    assert "line 3: it stands behind the run's end" in message


def test_a_journal_is_never_written_over(path):
    """Opening one where another is fails instead of losing it."""
    write(path, [STARTED])
    with pytest.raises(FileExistsError):
        Journal(path)


def test_many_threads_write_whole_lines(path):
    """Lines of several threads do not mix, and none is lost."""
    with Journal(path) as journal:
        journal.write(STARTED)
        threads = [
            threading.Thread(
                target=lambda n=n: [journal.write(Sample(region=str(n), at_s=i, ok=1, total=1)) for i in range(200)]
            )
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        journal.write(RunEnded())
    seen = [entry.record for entry in read_journal(path)][1:-1]
    assert sorted((int(s.region), s.at_s) for s in seen) == [(n, i) for n in range(4) for i in range(200)]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(), fields=st.dictionaries(st.text(), st.none() | st.integers(-(2**53), 2**53) | st.text()))
def test_any_text_survives(tmp_path_factory, text, fields):
    """Whatever a log line holds, new lines and quotes among it, stays one line and comes back as it was."""
    path = tmp_path_factory.mktemp("j") / "journal.ndjson"
    line = LogLine(at_s=0.5, service="gossip-1", what=text, fields=fields)
    write(path, [STARTED, line, RunEnded()])
    assert read_journal(path)[1].record == line


def test_bytes_that_are_no_text_are_kept_as_escapes(path):
    """A damaged name out of a raw view need not be UTF-8, and must not stop the journal."""
    name = b"gossip-\xff".decode("utf-8", "surrogateescape")
    write(path, [STARTED, LogLine(at_s=0.0, service=name, what="x", fields={name: [name, 1]}), RunEnded()])
    line = read_journal(path)[1].record
    assert line == LogLine(
        at_s=0.0, service="gossip-\\udcff", what="x", fields={"gossip-\\udcff": ["gossip-\\udcff", 1]}
    )


@pytest.mark.parametrize("wrong", [float("nan"), "soon", None])
def test_what_could_not_be_read_back_is_not_written(path, wrong):
    """A record with a wrong type fails at once, where it was made, and leaves the journal whole."""
    with Journal(path) as journal:
        journal.write(STARTED)
        with pytest.raises(ValueError, match="Alarm that could not be read back"):
            journal.write(Alarm(name="a", culprit="b", at_s=wrong))
        journal.write(RunEnded())
    assert len(read_journal(path)) == 2


def test_no_member_hides_behind_the_lines_own():
    """No record has a member named as one that every line has."""
    for record in EVENTS.values():
        assert not {"seq", "t", "event", "crc"} & set(record.__struct_fields__)
