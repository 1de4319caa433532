"""A campaign's database: one SQLite file with a row for each trial, written as it ends.

It tolerates the death of its writer at any time: a row is there as a whole or not at all.
It is an index: the journals beside it are the truth, and `rebuild` makes the same rows from them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from straybit.campaign.space import Plan
from straybit.journal import JournalDamaged, read_journal
from straybit.outcome import Outcome
from straybit.records import Campaign, Record, Trial

__all__ = ["DATABASE", "SCHEMA", "Store", "StoreError", "catch_up", "intact_records", "journal_paths", "rebuild"]

DATABASE = "campaign.sqlite"
SCHEMA = 1

_PLAN = msgspec.json.Decoder(Plan)
_TRIAL = msgspec.json.Decoder(Trial)

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, flips TEXT NOT NULL,
    outcome TEXT NOT NULL, record TEXT NOT NULL
);
"""


class StoreError(RuntimeError):
    """A database that cannot be used; the message says why and what to do."""


class Store:
    """The database in `folder`; `Store.create` makes one for a plan. One writer at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE
        if not self.path.is_file():
            raise StoreError(f"{folder} has no {DATABASE}: name a campaign's folder, or leave --resume out")
        self._db = _open(self.path)
        try:
            self.plan, self.backend = self._read()
        except sqlite3.DatabaseError as error:
            self.close()
            raise StoreError(f"{self.path} is half written or damaged ({error}); {_REBUILD}") from None
        except StoreError:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, plan: Plan, backend: str) -> Self:
        """A new one, without trials. Raises StoreError where there is one already."""
        path = folder / DATABASE
        if path.exists():
            raise StoreError(f"{folder} holds a campaign already: go on with --resume {folder}, or name another folder")
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        made = _open(unfinished)
        with made:
            made.executescript(_TABLES)
            head = {"schema": str(SCHEMA), "backend": backend, "plan": msgspec.json.encode(plan).decode()}
            made.executemany("INSERT INTO meta VALUES (?, ?)", head.items())
        made.close()
        unfinished.replace(path)
        return cls(folder)

    def put(self, trial: Trial) -> bool:
        """Keep this try unless its trial has a verdict already; whether it counted. Raises StoreError."""
        number = int(trial.id.rpartition("-")[2])
        row = (number, trial.id, str(trial.kind), " ".join(trial.flips), str(trial.outcome), _text(trial))
        try:
            with self._db:
                done = self._db.execute(
                    "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE"
                    " SET outcome = excluded.outcome, record = excluded.record WHERE trials.outcome = ?",
                    (*row, str(Outcome.INVALID)),
                )
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path} cannot be written ({error}); what was done is in the journal") from None
        return done.rowcount > 0

    def done(self) -> frozenset[str]:
        """Ids of the trials that have a row."""
        return frozenset(row[0] for row in self._db.execute("SELECT id FROM trials"))

    def trials(self) -> tuple[Trial, ...]:
        """Every trial's record, in the plan's order."""
        rows = self._db.execute("SELECT record FROM trials ORDER BY number")
        return tuple(_TRIAL.decode(row[0]) for row in rows)

    def rows(self) -> tuple[tuple[object, ...], ...]:
        """The rows as they stand, in order: what two databases are compared by."""
        return tuple(self._db.execute("SELECT * FROM trials ORDER BY number"))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> tuple[Plan, str]:
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        if meta.get("schema") != str(SCHEMA):
            raise StoreError(
                f"{self.path} has schema {meta.get('schema')}, and this straybit reads {SCHEMA}; "
                "go on with the straybit that wrote it"
            )
        self._db.execute("SELECT count(*) FROM trials").fetchone()
        try:
            return _PLAN.decode(meta["plan"]), meta["backend"]
        except (KeyError, msgspec.MsgspecError) as error:
            raise StoreError(f"{self.path} has no plan that can be read ({error}); {_REBUILD}") from None


_REBUILD = "make it again from its journals with `straybit campaign --rebuild FOLDER`"


def journal_paths(folder: Path) -> tuple[Path, ...]:
    """The journals of a campaign's sessions, oldest first."""
    return tuple(sorted(folder.glob("journal*.ndjson"), key=lambda path: (len(path.name), path.name)))


def rebuild(folder: Path) -> Store:
    """The database again, from the journals alone; whatever was in its place is replaced.

    A journal that its writer did not live to end is read as far as it is intact.
    Raises StoreError where no journal tells the plan.
    """
    told = [record for path in journal_paths(folder) for record in intact_records(path)]
    plans = [record for record in told if isinstance(record, Campaign)]
    if not plans:
        raise StoreError(f"{folder} has no journal of a campaign: there is nothing to rebuild from")
    for suffix in ("", "-wal", "-shm"):
        (folder / f"{DATABASE}{suffix}").unlink(missing_ok=True)
    store = Store.create(folder, msgspec.convert(plans[0].plan, Plan), plans[0].backend)
    catch_up(store, told)
    return store


def catch_up(store: Store, told: Iterable[Record]) -> None:
    """Keep the trials that these records tell of."""
    for record in told:
        if isinstance(record, Trial):
            store.put(record)


def intact_records(path: Path) -> list[Record]:
    """What a journal tells, as far as it is intact. Raises JournalRefused for another schema."""
    try:
        entries = read_journal(path)
    except JournalDamaged as damaged:
        entries = damaged.intact
    return [entry.record for entry in entries]


def _open(path: Path) -> sqlite3.Connection:
    """WAL, so that a reader (`straybit watch`) and the writer do not wait for each other."""
    db = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError as error:
        db.close()
        raise StoreError(f"{path} is half written or damaged ({error}); {_REBUILD}") from None
    return db


def _text(trial: Trial) -> str:
    return msgspec.json.encode(trial).decode()
