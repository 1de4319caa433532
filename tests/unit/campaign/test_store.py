"""The database of a campaign: one row a trial, counted once, refused when it is not what it should be, rebuilt."""

import sqlite3

import msgspec
import pytest
from campaign_samples import PLAN, one, played, replace

from straybit.campaign.conduct import conduct, open_campaign
from straybit.campaign.store import DATABASE, Store, StoreError, journal_paths, rebuild
from straybit.campaign.worker import Done


class Lanes:
    """Plays what it is told to, without a cluster; `dies_at` breaks off as an error would."""

    def __init__(self, ends=None, dies_at=None, error=KeyboardInterrupt):
        self.ends = ends or {}
        self.dies_at = dies_at
        self.error = error
        self.played = []

    def run(self, backend, specs):
        for spec in specs:
            if len(self.played) == self.dies_at:
                raise self.error
            self.played.append(spec.id)
            yield Done((one(spec, self.ends),), 0.01, 0.005, 77)

    def close(self):
        pass


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path, PLAN, "sim") as made:
        yield made


def test_a_trial_counts_once(store):
    """A second verdict of the same trial changes nothing; only an INVALID try gives way."""
    first, second = PLAN.trials()[1:3]
    assert store.put(one(first, {"type": "SPREAD"}))
    assert not store.put(one(first, {}))
    assert store.put(one(second, {"type": "INVALID"}))
    assert store.put(one(second, {"type": "HANG"}))
    assert [str(trial.outcome) for trial in store.trials()] == ["SPREAD", "HANG"]


def test_rows_stand_in_the_plans_order_whatever_ended_first(store):
    """Two lanes end as they like, and the rows are the same."""
    trials = played(PLAN, {})
    for trial in reversed(trials):
        store.put(trial)
    assert list(store.trials()) == trials


def test_a_campaign_is_not_written_over(store, tmp_path):
    """A folder that holds one says how to go on with it."""
    with pytest.raises(StoreError, match="holds a campaign already: go on with --resume"):
        Store.create(tmp_path, PLAN, "sim")


def test_what_is_no_campaign_is_said_in_a_line(tmp_path):
    """An empty folder, a database of another version, one that is torn or holds something else."""
    with pytest.raises(StoreError, match="has no campaign.sqlite"):
        Store(tmp_path)
    Store.create(tmp_path, PLAN, "sim").close()
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute("UPDATE meta SET value = '9' WHERE key = 'schema'")
    db.close()
    with pytest.raises(StoreError, match="has schema 9, and this straybit reads 1; go on with"):
        Store(tmp_path)
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
        db.execute("UPDATE meta SET value = '{}' WHERE key = 'plan'")
    db.close()
    with pytest.raises(StoreError, match=r"has no plan that can be read .*--rebuild"):
        Store(tmp_path)
    whole = (tmp_path / DATABASE).read_bytes()
    for torn in (whole[: len(whole) // 2], b"x" * 5000, b""):
        (tmp_path / DATABASE).write_bytes(torn)
        with pytest.raises(StoreError, match="half written or damaged"):
            Store(tmp_path)


def test_what_was_interrupted_goes_on_where_it_stopped(store, tmp_path):
    """Nothing is played twice, nothing is left out, and each session has a journal of its own."""
    first, second = Lanes({"type": "SPREAD"}, dies_at=50), Lanes({"type": "SPREAD"})
    with pytest.raises(KeyboardInterrupt):
        conduct(store, tmp_path, first)
    store.close()
    with open_campaign(tmp_path) as again:
        session = conduct(again, tmp_path, second)
        assert (session.left, session.cost.trials) == (0, len(PLAN.flips) - 50)
        assert first.played + second.played == [spec.id for spec in PLAN.trials()]
        assert list(again.trials()) == played(PLAN, {"type": "SPREAD"})
    assert [path.name for path in journal_paths(tmp_path)] == ["journal.ndjson", "journal-2.ndjson"]


def test_what_a_worker_raises_ends_the_session_and_keeps_what_was_done(store, tmp_path):
    """The error is passed on and stands in the journal."""
    with pytest.raises(OSError, match="disk full"):
        conduct(store, tmp_path, Lanes(dies_at=3, error=OSError("disk full")))
    assert len(store.done()) == 3
    assert b'"event":"error","what":"OSError: disk full"' in journal_paths(tmp_path)[0].read_bytes()


def test_a_row_that_was_not_written_before_the_end_is_read_from_the_journal(store, tmp_path):
    """Killed between the two, the journal has more: going on takes it from there and plays nothing again."""
    with pytest.raises(KeyboardInterrupt):
        conduct(store, tmp_path, Lanes(dies_at=40))
    store.close()
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute("DELETE FROM trials WHERE number >= 30")
    db.close()
    with open_campaign(tmp_path) as again:
        assert len(again.done()) == 40


def test_the_database_is_rebuilt_from_the_journals_and_is_the_same(store, tmp_path):
    """Also where one of them is cut in the middle of a line."""
    for number in (30, 60, None):
        lanes = Lanes({"type": "SPREAD", "length": "DETECTED"}, dies_at=number)
        try:
            conduct(store, tmp_path, lanes)
        except KeyboardInterrupt:
            continue
    rows = store.rows()
    store.close()
    assert len(rows) == len(PLAN.flips)
    with rebuild(tmp_path) as again:
        assert again.rows() == rows
        assert (again.plan, again.backend) == (PLAN, "sim")
    first = journal_paths(tmp_path)[0]
    first.write_bytes(first.read_bytes()[:-300])
    with rebuild(tmp_path) as again:
        assert set(again.rows()) < set(rows)
        conduct(again, tmp_path, Lanes({"type": "SPREAD", "length": "DETECTED"}))
        assert again.rows() == rows


def test_nothing_is_rebuilt_from_nothing(tmp_path):
    """A folder without journals says so, and its database stays."""
    (tmp_path / DATABASE).write_bytes(b"torn")
    with pytest.raises(StoreError, match="there is nothing to rebuild from"):
        rebuild(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == b"torn"


def test_every_try_is_in_the_journal_and_one_counts(store, tmp_path):
    """A trial that the host failed twice has three lines there and one row here."""

    class Hard(Lanes):
        def run(self, backend, specs):
            for spec in list(specs)[:1]:
                bad = replace(one(spec, {}), outcome="INVALID", why="the host failed: no")
                bad = msgspec.convert(msgspec.to_builtins(bad), type(bad))
                yield Done((bad, bad, one(spec, {})), 0.1, 0.1, 1)

    conduct(store, tmp_path, Hard())
    assert journal_paths(tmp_path)[0].read_bytes().count(b'"event":"trial"') == 3
    assert [str(trial.outcome) for trial in store.trials()] == ["MASKED"]
