"""The page: verdict first, nothing hidden, nothing fetched, nothing run."""

import random
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import (
    JULY,
    SAMPLES,
    control,
    july_trial,
    june_trial,
    started,
    write_demo,
    write_journal,
    write_sample,
)

from straybit.outcome import Outcome
from straybit.records import (
    Alarm,
    Detection,
    Error,
    Expectation,
    Phase,
    Receipt,
    RestoreStage,
    RunEnded,
    Sample,
    Table,
    Trial,
    TrialKind,
    TrialPhases,
    Verdict,
)
from straybit.report import write_reports
from straybit.report.history import HISTORY, happened_here
from straybit.report.page import FULL_LIMIT, report_html
from straybit.result import fold

VOID = {"meta", "br", "link", "img", "input", "hr"}
DRAWN = {"line", "rect", "circle", "path"}


class Page(HTMLParser):
    """Tags in order, the visible text, and a check that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in DRAWN | VOID
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = write_demo(tmp_path_factory.mktemp("runs") / "demo")
    write_reports(folder)
    return folder


def page_of(*records) -> Page:
    return Page(report_html(fold([started("july-2008"), *records, RunEnded()])))


@pytest.mark.parametrize("name", [*SAMPLES, "."])
def test_nothing_is_fetched_and_nothing_runs(demo, name):
    """One file: no script, no address, no other file, no handler; and its tags are in order."""
    html = (demo / name / "report.html").read_text()
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "link", "object", "embed", "form", "base"}
    attributes = [(key, value or "") for _, attrs in page.tags for key, value in attrs.items()]
    assert not [key for key, _ in attributes if key.startswith("on") or key in ("src", "srcset", "action")]
    assert {value[0] for key, value in attributes if key == "href"} <= {"#"}
    assert not re.search(r"https?:|url\(|@import", html)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_verdict_comes_first(demo, name):
    """The heading is the verdict in a sentence, and stands before everything but the run's name."""
    page = Page((demo / name / "report.html").read_text())
    word = "Held" if name.endswith("2008-2008") else "Did not hold"
    first = next(tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag))
    assert first == "h1"
    assert page.text.index(f"{word}:", page.text.index("straybit ·")) < 150


def test_what_was_not_tested_comes_last(demo):
    """The last heading is about the limits, and names the defences that were off."""
    text = Page((demo / "july-2008-none" / "report.html").read_text()).text
    last = text[text.index("What was not tested") :]
    assert "defences that were off throughout: content-checksum" in last
    assert "there was no control trial" in last
    assert (
        text.index("Trials, worst first") < text.index("Controls and false alarms") < text.index("What was not tested")
    )


def test_seed_and_replay_stand_near_the_top(demo):
    """Before any detail."""
    text = Page((demo / "june-2008-none" / "report.html").read_text()).text
    top = text[: text.index("What was expected")]
    assert "seed 7" in top
    assert "straybit run june-2008 --defences none --seed 7" in top


def test_both_timelines_stand_side_by_side(demo):
    """Each moment of 2008 with Amazon's time, and this run's own."""
    for name, scenario in (("july-2008-none", "july-2008"), ("june-2008-none", "june-2008")):
        text = Page((demo / name / "report.html").read_text()).text
        for moment in HISTORY[scenario].moments:
            assert moment.what in text
            assert moment.when in text
    text = Page((demo / "july-2008-none" / "report.html").read_text()).text
    for words in ("8 h 18 min US back to normal", "eu: almost no request succeeds", "restore: verify silence"):
        assert words in text


def test_a_run_tells_its_own_moments():
    """From the first flip on: who noticed first, when success fell and came back, in order of time."""
    samples = [Sample(region="eu", at_s=t, ok=ok, total=4) for t, ok in [(3, 4), (5, 1), (6, 0), (9, 4), (10, 4)]]
    result = fold(
        [started("july-2008"), july_trial(0, defended=True), *samples, Alarm(name="a", culprit="lb-1", at_s=7)]
    )
    told = [(round(m.at_s, 2), m.what) for m in happened_here(result)]
    assert [what for _, what in told] == [
        "the flip",
        "gossip-crc notices for the first time",
        "eu: fewer than half of the requests succeed",
        "eu: almost no request succeeds",
        "a names lb-1",
        "eu: back to normal",
    ]
    assert told[3][0] == 2.0


def test_every_flip_of_a_trial_is_a_mark():
    """A trial of several flips has as many marks, and the moments count them."""
    trials = [july_trial(n, defended=False) for n in range(6)]
    one = msgspec.structs.replace(trials[0], receipts=tuple(t.receipts[0] for t in trials))
    page = page_of(one, Sample(region="eu", at_s=0, ok=1, total=1))
    assert len([1 for tag, attrs in page.tags if tag == "line" and attrs.get("class") == "flip"]) == 6
    assert "0 first of 6 flips leaves the proxy" in page.text


def test_batches_of_a_restore_are_one_moment():
    """A restore of many batches does not drown the rest."""
    names = ["stop all", "batch 1", "batch 2", "batch 3", "region eu"]
    stages = [RestoreStage(name=name, at_s=5 + n, until_s=6 + n) for n, name in enumerate(names)]
    told = [m.what for m in happened_here(fold([started("july-2008"), *stages]))]
    assert told == ["restore: stop all", "restore: batch 1, and 2 more of these", "restore: region eu"]


def test_a_phase_finds_its_budget():
    """By its name, or its first word."""
    page = page_of(Phase(name="restore in stages", at_s=0, until_s=20))
    assert "restore in stages 0.0 s 20 s 15 s" in page.text


def test_a_receipt_is_shown_as_bytes():
    """Offset, mask, bit, both values in binary, and the changed byte marked in its context."""
    trial = july_trial(0, defended=False)
    receipt = trial.receipts[0]
    html = report_html(fold([started("s"), trial]))
    assert f"<mark>{receipt.after:02x}</mark>" in html
    assert f"byte {receipt.offset}, mask 0x40, bit 6" in html
    assert html.count("<mark>0</mark>") == 1
    assert html.count("<mark>1</mark>") == 1
    assert receipt.flip in html
    assert f"0x{receipt.before:02x}" in html


def test_the_blast_radius_is_shown_even_when_it_is_zero():
    """Nobody has to guess what a missing line means."""
    assert "blast radius 0" in page_of(july_trial(0, defended=True)).text


def test_who_noticed_is_named():
    """The defence, its place and its words; or nobody."""
    text = page_of(july_trial(0, defended=True)).text
    assert "gossip-crc at gossip-3: checksum in the frame" in text
    assert "who noticed nobody" in page_of(july_trial(0, defended=False)).text


def test_silence_has_a_bound():
    """Zero silent trials are a bound and not zero percent."""
    text = page_of(*(july_trial(n, defended=True) for n in range(6))).text
    assert "silent 0 of 6 at most 46 % (95 %)" in text


def test_budgets_are_drawn_where_they_hold():
    """Every lane and phase with a budget has its line, and what is over says so."""
    slow = msgspec.structs.replace(july_trial(0, defended=True), phases=TrialPhases(detected_s=3.0, recovered_s=1.0))
    page = page_of(Phase(name="recovered", at_s=0, until_s=9), slow)
    lines = [attrs for tag, attrs in page.tags if tag == "line" and attrs.get("class") == "budget"]
    assert len(lines) == 4
    assert "1 over budget" in page.text


def test_worst_trials_come_first():
    """SPREAD before NOTICED before DETECTED, whatever came first in the run."""
    spread = july_trial(1, defended=False)
    text = page_of(july_trial(0, defended=True), june_trial(2, "m", "client:etag", defended=True), spread).text
    trials = text[text.index("Trials, worst first") : text.index("Controls and false alarms")]
    assert trials.index("SPREAD") < trials.index("NOTICED") < trials.index("DETECTED")


def test_a_table_is_shown(demo):
    """June's client modes."""
    text = Page((demo / "june-2008-2008" / "report.html").read_text()).text
    assert "today, signed SHA-256 x-amz-content-sha256 4 4 0" in text


def test_the_demos_page_holds_all_runs(demo):
    """One page, a table of runs, and a matrix over them."""
    page = Page((demo / "report.html").read_text())
    assert (
        "As expected: none of 2 undefended runs held, 2 of 2 defended runs held; 4 expectations, all met." in page.text
    )
    ids = [attrs["id"] for _, attrs in page.tags if (attrs.get("id") or "").startswith("run-")]
    assert ids == ["run-1", "run-2", "run-3", "run-4"]
    assert "state address july-2008, the defences of 2008 0 of 6" in page.text


def test_damage_is_the_headline(tmp_path):
    """A flipped bit in the journal: no verdict, and the page says which line."""
    folder = write_sample(tmp_path, "july-2008-2008")
    path = folder / "journal.ndjson"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert write_reports(folder) is Verdict.NO_VERDICT
    assert "No verdict: journal.ndjson is damaged, line" in Page((folder / "report.html").read_text()).text


def test_reports_come_from_the_journal_alone(tmp_path):
    """Whatever else lies in the folder is neither needed nor believed, and the same journal gives the same bytes."""
    first, second = (write_sample(tmp_path / place, "july-2008-none") for place in "ab")
    (second / "result.json").write_text('{"verdict": "met"}')
    (second / "logs").mkdir()
    assert write_reports(first) is write_reports(second) is Verdict.NOT_MET
    for name in ("result.json", "report.html", "summary.md", "junit.xml"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_missing_run_of_a_demo_is_missed(tmp_path):
    """A folder that is gone leaves no verdict, and is named."""
    folder = write_demo(tmp_path / "demo")
    (folder / "june-2008-none" / "journal.ndjson").unlink()
    assert write_reports(folder) is Verdict.NO_VERDICT
    assert "june-2008-none: there is no journal" in Page((folder / "report.html").read_text()).text


def test_a_folder_without_a_journal_is_refused(tmp_path):
    """There is nothing to report."""
    with pytest.raises(FileNotFoundError):
        write_reports(tmp_path)


def test_hundreds_of_trials_stay_readable():
    """Full cards are few, every trial has its row, and the page stays small."""
    trials = [msgspec.structs.replace(july_trial(n % len(JULY), defended=bool(n % 3)), id=f"t{n}") for n in range(900)]
    html = report_html(fold([started("s"), *trials, Expectation(text="x", met=True)]))
    page = Page(html)
    cards = [attrs for tag, attrs in page.tags if tag == "details" and (attrs.get("class") or "").startswith("trial")]
    assert 1 < len(cards) <= FULL_LIMIT
    assert {f"t{n}" for n in range(900)} <= set(page.text.split())
    assert len(html) < 1_500_000


def test_hostile_text_stays_text():
    """Names, notes and logs come from the system under test, and may try to be more than text."""
    evil = '"><script>alert(1)</script><svg onload=x>&'
    records = [
        Phase(name=evil, at_s=0, until_s=2, note=evil),
        Alarm(name=evil, culprit=evil, at_s=1),
        Error(what=evil),
        Table(name=evil, columns=(evil,), rows=((evil,),)),
        Sample(region=evil, at_s=0, ok=1, total=2),
        msgspec.structs.replace(
            july_trial(0, defended=True),
            id=evil,
            title=evil,
            why=evil,
            flips=(evil,),
            detected_by=(evil,),
            detections=(Detection(by=evil, service=evil, detail=evil),),
            reached=(evil,),
        ),
    ]
    page = page_of(*records)
    assert not {tag for tag, _ in page.tags} & {"script"}
    assert not [1 for _, attrs in page.tags if "onload" in attrs]


maybe_s = st.none() | st.floats(0, 1e6)
names = st.text(max_size=8)
receipts = st.builds(
    Receipt,
    flip=names,
    link=names,
    direction=st.sampled_from(["up", "down"]),
    offset=st.none() | st.integers(0, 2**40),
    before=st.none() | st.integers(0, 255),
    after=st.none() | st.integers(0, 255),
    context=st.binary(max_size=32).map(bytes.hex) | names,
    context_at=st.none() | st.integers(0, 2**40),
    sent=maybe_s,
    delivered=maybe_s,
)
trials = st.builds(
    Trial,
    id=names,
    outcome=st.sampled_from(Outcome),
    kind=st.sampled_from(TrialKind),
    expected=st.none() | st.sampled_from(Outcome),
    flips=st.lists(names, max_size=2).map(tuple),
    at_s=maybe_s,
    receipts=st.lists(receipts, max_size=2).map(tuple),
    detected_by=st.lists(names, max_size=2).map(tuple),
    phases=st.builds(TrialPhases, felt_s=maybe_s, detected_s=maybe_s, reverted_s=maybe_s, recovered_s=maybe_s),
    budgets=st.dictionaries(st.sampled_from(["detected", "recovered"]), st.floats(0, 1e6)),
)
times = st.floats(0, 1e6)
records = st.lists(
    trials
    | st.builds(Sample, region=names, at_s=times, ok=st.just(0), total=st.integers(0, 3))
    | st.builds(Phase, name=names, at_s=times, until_s=times)
    | st.builds(Alarm, name=names, culprit=names, at_s=times)
    | st.builds(Expectation, text=names, met=st.booleans())
    | st.builds(Error, what=names),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(records)
def test_whatever_a_run_says_makes_a_page(told):
    """No journal that can be written is one that cannot be shown: half a run at 3 a.m. is when it is needed."""
    Page(report_html(fold([started("july-2008"), *told])))
    Page(report_html(fold(told, damage="line 1: gone")))


def test_random_controls_do_not_change_rates():
    """Adding controls changes no count of fault trials on the page."""
    rng = random.Random(1)
    trials = [july_trial(n, defended=bool(rng.randrange(2))) for n in range(6)]
    without, beside = page_of(*trials).text, page_of(*trials, *(control(n) for n in range(9))).text
    found = re.search(r"dangerous \d of \d", without)
    assert found
    assert found[0] in beside


def test_two_journals_in_one_folder_are_one_too_many(tmp_path):
    """A run never writes into another's folder."""
    write_journal(tmp_path, [started("s"), RunEnded()])
    with pytest.raises(FileExistsError):
        write_journal(tmp_path, [started("s"), RunEnded()])
