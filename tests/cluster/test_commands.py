"""Commands that need a cluster: one trial again, a scenario of one's own, Ctrl-C, a damaged journal."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from straybit.cli import main; main()"]
FLIP = "1/gossip-1:gossip-2/up/state/0/version/62"


@pytest.fixture
def straybit(tmp_path):
    """Run a command in an empty folder."""

    def run(*args):
        return subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)

    return run


@pytest.mark.parametrize(
    ("flip", "defences", "outcome", "code"),
    [
        (FLIP, "gossip-crc", "DETECTED", 0),
        (FLIP, "value-bounds", "DETECTED", 0),
        (FLIP, "none", "SPREAD", 1),
        (f"{FLIP}/repair", "gossip-crc", "SPREAD", 1),
        (f"{FLIP}/control", "all", "MASKED", 0),
        ("1/gossip-1:gossip-2/up/failed/0/owner/1", "all", "INVALID", 2),
    ],
)
def test_a_flip_is_replayed_by_its_id(straybit, flip, defences, outcome, code):
    """The flip id and the defences decide how a trial ends, and the exit code says it."""
    done = straybit("replay", flip, "--defences", defences, "--json")
    result = json.loads(done.stdout)
    assert [t["outcome"] for t in result["trials"]] == [outcome], done.stderr
    assert done.returncode == code
    assert result["trials"][0]["flips"] == [flip]


def test_a_trial_is_replayed_by_its_id(straybit):
    """A trial id is found in the newest run that has it, plays that run again, and ends the same."""
    first = straybit("replay", FLIP, "--defences", "gossip-crc", "--out", "straybit-out/first")
    assert first.returncode == 0, first.stderr
    again = straybit("replay", "t1")
    assert again.returncode == 0, again.stderr
    assert "trial t1: the same: DETECTED then, DETECTED now" in again.stdout


def test_a_scenario_of_ones_own(straybit):
    """A Python file that defines a scenario is played like the built-in ones."""
    file = str(ROOT / "examples" / "slow_poison.py")
    undefended = straybit("run", file, "--defences", "none", "--json")
    assert undefended.returncode == 1, undefended.stderr
    assert [t["outcome"] for t in json.loads(undefended.stdout)["trials"]] == ["SPREAD"]
    defended = straybit("run", file, "--defences", "gossip-crc")
    assert defended.returncode == 0, defended.stdout


def test_a_damaged_journal_is_no_verdict(straybit, tmp_path):
    """One bit flipped in a run's journal is noticed, named, and ends in exit 2."""
    assert straybit("replay", FLIP, "--defences", "gossip-crc", "--out", "run").returncode == 0
    assert straybit("report", "run").returncode == 0
    journal = tmp_path / "run" / "journal.ndjson"
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    done = straybit("report", "run")
    assert done.returncode == 2
    assert "line" in done.stdout + done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["verdict"] == "no-verdict"


def test_control_c_leaves_nothing_but_a_report(tmp_path):
    """Interrupted in the middle, a run takes everything down, says so in one line, and has no verdict."""
    before = set(psutil.pids())
    command = [*COMMAND, "run", "july-2008", "--out", "run"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert run.stdout is not None
    line = next(line for line in run.stdout if "steady state" in line)
    assert line
    os.kill(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 2
    assert said.strip().splitlines()[-1] == "straybit: interrupted; everything it started has been taken down"
    assert "Traceback" not in said
    assert json.loads((tmp_path / "run" / "result.json").read_text())["verdict"] == "no-verdict"
    left = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before]
    assert [p.info["cmdline"] for p in left if "straybit.backends._nursery" in (p.info["cmdline"] or [])] == []
