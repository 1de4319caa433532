"""From a run's journal to its four reports; nothing else in the folder is read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from straybit.journal import Entry, JournalDamaged, JournalRefused, read_journal
from straybit.records import SubRun, Verdict
from straybit.report.junit import junit_xml
from straybit.report.page import report_html
from straybit.report.summary import summary_md
from straybit.result import RunResult, fold

__all__ = ["JOURNAL", "load_result", "write_reports"]

JOURNAL = "journal.ndjson"


def load_result(folder: Path) -> RunResult:
    """The result that the folder's journal tells, and those of the runs inside it.

    A damaged or refused journal gives a result without a verdict, which says why.
    Raises FileNotFoundError where there is no journal at all.
    """
    damage = ""
    try:
        entries: tuple[Entry, ...] = read_journal(folder / JOURNAL)
    except JournalDamaged as error:
        entries, damage = error.intact, str(error)
    except JournalRefused as error:
        entries, damage = (), str(error)
    records = [entry.record for entry in entries]
    runs = [(record, _inner(folder, record)) for record in records if isinstance(record, SubRun)]
    return fold(records, damage=damage, runs=runs)


def write_reports(folder: Path) -> Verdict:
    """Write result.json, report.html, summary.md and junit.xml from the folder's journal, over older ones.

    A run of several runs gets one page of them all, and each of its folders gets its own four files.
    Raises FileNotFoundError where there is no journal, OSError where the folder cannot be written.
    """
    result = load_result(folder)
    for name in _inner_folders(folder):
        write_reports(folder / name)
    _write(folder / "result.json", msgspec.json.format(msgspec.json.encode(result), indent=2))
    _write(folder / "report.html", report_html(result).encode())
    _write(folder / "summary.md", summary_md(result).encode())
    _write(folder / "junit.xml", junit_xml(result))
    return result.verdict


def _inner(folder: Path, sub: SubRun) -> RunResult:
    path = _inside(folder, sub.folder)
    if path is None or not (path / JOURNAL).is_file():
        return fold([], damage=f"there is no journal in the folder {sub.folder!r}")
    return load_result(path)


def _inner_folders(folder: Path) -> list[str]:
    try:
        entries = read_journal(folder / JOURNAL)
    except JournalDamaged as error:
        entries = error.intact
    except JournalRefused:
        return []
    names = [entry.record.folder for entry in entries if isinstance(entry.record, SubRun)]
    return [name for name in names if (path := _inside(folder, name)) and (path / JOURNAL).is_file()]


def _inside(folder: Path, name: str) -> Path | None:
    """The folder of that name directly in `folder`; None for a name that leads elsewhere."""
    return folder / name if name not in ("", ".", "..") and Path(name).name == name else None


def _write(path: Path, content: bytes) -> None:
    """Replace the file as a whole, so that a reader never sees half a report."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
