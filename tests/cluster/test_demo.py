"""The demo, end to end: both events of 2008, undefended then defended, by the command a user types."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from straybit.clients import MODES
from straybit.ledger_client import BUCKET
from straybit.report import load_result
from straybit.scenarios._july_plan import july_plan
from straybit.scenarios._june_plan import june_plan
from straybit_nodes.topology import Topology

SEED = 11
ROOT = Path(__file__).parents[2]
LONG_S = 1500
"""A minute on two idle cores; on a busy machine runs are played again, more slowly."""
pytestmark = [pytest.mark.alone, pytest.mark.timeout(LONG_S + 60)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One `make demo`; its exit code, output, folder, and the results of its four runs by name."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    command = ["make", "--silent", "demo", f"VENV={sys.prefix}", f"DEMO=--seed {SEED} --out {folder}"]
    before = set(psutil.pids())
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False)
    runs = {path.name: load_result(path) for path in folder.iterdir() if (path / "journal.ndjson").exists()}
    return {"done": done, "folder": folder, "runs": runs, "before": before}


def story(result):
    """The rows of a run's story that did not come true."""
    return [row for table in result.tables if table.name == "as published" for row in table.rows if row[-1] != "yes"]


def requests(folder):
    """Every request of a run, by the balancers' own logs."""
    logs = (folder / "logs").glob("lb-*.ndjson")
    lines = (json.loads(line) for log in logs for line in log.read_text().splitlines())
    return [line for line in lines if line["event"] == "request"]


def test_the_demo_ends_well_and_says_where_the_report_is(demo):
    """Exit 0, one line of verdict for each run, the report's path last."""
    assert demo["done"].returncode == 0, demo["done"].stdout + demo["done"].stderr
    lines = demo["done"].stdout.strip().splitlines()
    assert lines[-1].endswith("report.html")
    verdicts = [line for line in lines if line.startswith(("met ", "not-met "))]
    assert len(verdicts) == 4
    assert (demo["folder"] / "report.html").stat().st_size > 10_000


def test_every_file_of_a_run_is_there(demo):
    """Each run's folder holds all that docs/result.md promises."""
    for name in demo["runs"]:
        folder = demo["folder"] / name
        for file in ("result.json", "journal.ndjson", "report.html", "summary.md", "junit.xml", "logs/lb-1.ndjson"):
            assert (folder / file).stat().st_size > 0, (name, file)
        assert json.loads((folder / "result.json").read_text())["schema"] == 1


def test_june_undefended_goes_as_published(demo):
    """Damaged objects are stored under matching ETags and nobody notices: the worst outcome is SILENT, exit 1."""
    june = demo["runs"]["june-2008-none"]
    assert june.verdict == "not-met"
    assert story(june) == []
    faults = [t for t in june.trials if t.kind == "fault"]
    assert {t.outcome for t in faults} == {"SILENT"}
    assert len(faults) >= 20


def test_june_defended_refuses_what_carries_a_checksum(demo):
    """DETECTED by name with a checksum, an expected SILENT without, two at least in each mode; the alarm is right."""
    june = demo["runs"]["june-2008-2008"]
    assert june.verdict == "met", june.expectations
    for mode in MODES.values():
        trials = [t for t in june.trials if t.kind == "fault" and t.id.startswith(f"{mode.name}/")]
        assert len(trials) >= 2
        expected = ("DETECTED", ("content-checksum",)) if mode.checksum else ("SILENT", ())
        assert {(t.outcome, t.detected_by) for t in trials} == {expected}
    plan = june_plan(Topology(), SEED)
    assert {a.culprit for a in june.alarms if a.name == "bad-digest-alarm"} == {plan.balancer}


@pytest.mark.parametrize("defences", ["none", "2008"])
def test_june_is_as_large_as_it_must_be(demo, defences):
    """By the balancers' own logs 300 requests; of the writes 24 damaged, 12 under a checksum, and 2 controls."""
    june = demo["runs"][f"june-2008-{defences}"]
    lines = requests(demo["folder"] / f"june-2008-{defences}")
    under_fault = [line for line in lines if line["target"].split("/")[1:3] in [[BUCKET, mode] for mode in MODES]]
    writes = {line["target"] for line in under_fault if line["method"] == "PUT"}
    assert 240 <= len(writes) <= 330
    assert len(under_fault) - len(writes) >= 60 + len(writes), (
        "every third acknowledged is read back, and all by the scan"
    )
    damaged = [t for t in june.trials if t.kind == "fault"]
    assert len(damaged) >= 24
    assert sum(bool(MODES[t.id.split("/")[0]].checksum) for t in damaged) >= 12
    assert june.controls.trials >= 2
    assert (june.controls.detected, june.controls.invalid, june.false_alarms) == (0, 0, ())


@pytest.mark.parametrize("defences", ["none", "2008"])
def test_junes_damage_is_the_plans(demo, defences):
    """Under live load the same flip means the same key, byte and value: each receipt is as the seed drew it."""
    plan = june_plan(Topology(), SEED)
    trials = {t.id: t for t in demo["runs"][f"june-2008-{defences}"].trials}
    assert trials.keys() == {write.key for write in (*plan.damaged, *plan.controls)}
    for write in plan.damaged:
        drawn = plan.drawn(write)
        for receipt in trials[write.key].receipts:
            assert receipt.field_bits[0] // 8 == drawn.byte(write.size)
            assert receipt.before ^ receipt.after == drawn.mask()
    for write in plan.controls:
        assert trials[write.key].outcome == "MASKED"
        assert {r.before ^ r.after for r in trials[write.key].receipts} == {0}


def test_july_undefended_goes_as_published(demo):
    """SPREAD and STICKY, below 5 % for 5 s, and again after a rolling restart; the staged restore helps."""
    july = demo["runs"]["july-2008-none"]
    assert july.verdict == "not-met"
    assert story(july) == []
    (trial,) = [t for t in july.trials if t.kind == "fault"]
    assert trial.outcome == "SPREAD"
    assert trial.sticky
    assert sorted(trial.flips) == sorted(july_plan(Topology(), SEED).lines())


def down(series, since_s, until_s):
    """Whether less than 5 % of a region's requests succeeded over some 5 s between those moments."""
    bins = [b for b in zip(series.at_s, series.ok, series.total, strict=True) if since_s <= b[0] <= until_s - 0.5]
    windows = [bins[n : n + 10] for n in range(len(bins) - 9)]
    return any(sum(ok for _, ok, _ in window) < 0.05 * sum(total for *_, total in window) for window in windows)


def test_julys_outage_is_in_the_measurements(demo):
    """Below 5 % in each region for 5 s after the last flip, for 5 s again after the restarts, and back to all."""
    july = demo["runs"]["july-2008-none"]
    phases = {phase.name: phase for phase in july.timeline}
    (trial,) = [t for t in july.trials if t.kind == "fault"]
    last_s = max(receipt.sent for receipt in trial.receipts)
    rolling, staged = phases["rolling restart"], phases["staged restore"]
    restarts = [stage for stage in july.restore if stage.name.startswith("restart ")]
    assert len(restarts) == 11
    restarted_s = restarts[-1].until_s - 0.5
    assert set(july.measurements.requests) == {"eu", "us"}
    for series in july.measurements.requests.values():
        assert down(series, last_s, rolling.at_s)
        assert down(series, restarted_s, staged.at_s)
        bins = zip(series.at_s, series.ok, series.total, strict=True)
        end = [(ok, total) for at_s, ok, total in bins if at_s > staged.until_s]
        assert len(end) >= 2  # of the 1.5 s that follow, those half seconds that begin in them
        assert all(ok == total for ok, total in end)


def test_july_defended_does_not_feel_it(demo):
    """Every flipped message is refused by gossip-crc within budget, nothing is believed, every request succeeds."""
    july = demo["runs"]["july-2008-2008"]
    assert july.verdict == "met", july.expectations
    (trial,) = [t for t in july.trials if t.kind == "fault"]
    assert (trial.outcome, trial.detected_by, trial.blast_radius) == ("DETECTED", ("gossip-crc",), 0)
    assert len({d.detail for d in trial.detections}) == 6
    assert trial.phases.recovered_s <= 5


def test_receipts_have_their_three_times(demo):
    """Every receipt was sent before it was acknowledged and before it was felt; a retry excuses a first try unfelt."""
    for name, run in demo["runs"].items():
        again = {f"{line['method']} {line['target']}" for line in requests(demo["folder"] / name) if line["tries"] > 1}
        for trial in run.trials:
            assert trial.outcome != "INVALID"
            assert all(r.sent <= r.delivered for r in trial.receipts)
            felt = [r for r in trial.receipts if r.felt is not None or r.identity not in again]
            assert felt
            assert all(r.sent <= r.felt for r in felt)
            assert trial.phases.felt_s >= 0


def test_nothing_is_left_behind(demo):
    """No process of the demo lives on."""
    left = [p for p in psutil.process_iter(["pid", "cmdline"]) if p.pid not in demo["before"]]
    assert [p.info["cmdline"] for p in left if any("straybit" in part for part in p.info["cmdline"] or [])] == []
