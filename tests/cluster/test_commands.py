"""Commands that need a cluster: one trial again, a scenario of one's own, Ctrl-C, a damaged journal."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from ports import listening, open_ports

from straybit.backends._folders import DATA_VARIABLE

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
        (f"{FLIP}/repair", "gossip-crc,entry-digest", "DETECTED", 0),
        (f"{FLIP}/control", "all", "MASKED", 0),
        ("1/gossip-1:gossip-2/up/failed/0/owner/1", "all", "INVALID", 2),
    ],
)
def test_a_flip_is_replayed_by_its_id(straybit, flip, defences, outcome, code):
    """The flip id and the defences decide how a trial ends, and the exit code says it."""
    done = straybit("replay", flip, "--defences", defences, "--json")
    assert done.returncode == code, done.stderr
    result = json.loads(done.stdout)
    assert [t["outcome"] for t in result["trials"]] == [outcome], done.stderr
    assert result["trials"][0]["flips"] == [flip]


def test_a_trial_is_replayed_by_its_id(straybit):
    """A trial id is found in the newest run that has it, plays that run again, and ends the same."""
    first = straybit("replay", FLIP, "--defences", "gossip-crc", "--out", "straybit-out/first")
    assert first.returncode == 0, first.stderr
    again = straybit("replay", "t1")
    assert again.returncode == 0, again.stderr
    assert "trial t1: the same: DETECTED then, DETECTED now" in again.stdout


def test_a_printed_line_plays_the_same_again(straybit):
    """The replay lines of a result, and the trial's id, play the same flip on a cluster of the same size."""
    first = straybit("replay", FLIP, "--defences", "value-bounds", "--gossip-only", "3", "--seed", "5", "--json")
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    (trial,) = result["trials"]
    assert trial["replay"] == result["replay"]
    program, *words = shlex.split(result["replay"])
    assert program == "straybit"
    again = json.loads(straybit(*words, "--json").stdout)
    by_id = json.loads(straybit("replay", "t1", "--json").stdout)
    for other in (again, by_id):
        assert other["servers"] == result["servers"] == {"eu": [3, 0]}
        assert (other["defences"], other["seed"], other["replay"]) == (["value-bounds"], 5, result["replay"])
        assert other["trials"][0]["flips"] == [FLIP]
        assert other["trials"][0]["outcome"] == trial["outcome"] == "DETECTED"


@pytest.mark.proof
def test_several_flips_make_one_trial(straybit):
    """Flips of several links are armed at once, and the line of the trial names them all."""
    flips = [FLIP, "1/gossip-2:gossip-3/up/state/0/version/62"]
    done = straybit("replay", *flips, "--defences", "gossip-crc", "--gossip-only", "3", "--json")
    (trial,) = json.loads(done.stdout)["trials"]
    assert (trial["outcome"], trial["flips"]) == ("DETECTED", flips), done.stderr
    assert trial["replay"].startswith(f"straybit replay {flips[0]} {flips[1]} --defences gossip-crc")


@pytest.mark.proof
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


def processes():
    """Process ids of ours: whatever runs the warm parent's code, which every service is a child of."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        if "straybit.backends._nursery" in (process.info["cmdline"] or []):
            found[process.pid] = process
    return found


FAILING = """
from pathlib import Path
from straybit import scenario

@scenario("fails")
def fails(run):
    names = [*(s.name for s in run.topology.services()), "proxy"]
    Path("pids").write_text(" ".join(str(run.cluster.pid(name)) for name in names))
    with run.phase("wait for the test"):
        run.wait_until(lambda: Path("go").exists(), 60)
    run.expect("two and two are five", False, "they are four")
"""


@pytest.mark.alone  # it looks at all processes and ports there are
def test_a_failed_run_leaves_nothing_but_its_folder(tmp_path, until):
    """After exit 1 no process, no listening socket and no temporary folder of ours is left."""
    before = processes().keys()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    (tmp_path / "fails.py").write_text(FAILING)
    command = [*COMMAND, "run", "fails.py", "--out", "run"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(temporary), DATA_VARIABLE: str(temporary)},
    ) as run:
        assert run.stdout is not None
        assert any("wait for the test" in line for line in run.stdout)
        pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
        ports = listening(pids)
        assert len(ports) > 20
        (tmp_path / "go").touch()
        run.communicate(timeout=60)
    assert run.returncode == 1
    assert until(lambda: not any(map(psutil.pid_exists, pids)))
    assert processes().keys() <= before
    assert open_ports(ports) == set()
    assert list(temporary.iterdir()) == []
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"journal.ndjson", "result.json", "report.html", "summary.md", "junit.xml", "logs"}


@pytest.mark.alone
@pytest.mark.parametrize("phase", ["steady state", "flips"])
def test_control_c_leaves_nothing_but_a_report(tmp_path, phase):
    """Interrupted in the middle, a run takes everything down, says so in one line, and has no verdict."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [*COMMAND, "run", "july-2008", "--out", "run"]
    folders = {"TMPDIR": str(temporary), DATA_VARIABLE: str(temporary)}
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **folders},
    )
    assert run.stdout is not None
    assert any(phase in line for line in run.stdout)
    started = psutil.Process(run.pid).children(recursive=True)
    ports = listening(process.pid for process in started)
    assert len(ports) > 20
    assert any(temporary.iterdir())
    os.kill(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 2
    assert said.strip().splitlines()[-1] == "straybit: interrupted; everything it started has been taken down"
    assert "Traceback" not in said
    assert json.loads((tmp_path / "run" / "result.json").read_text())["verdict"] == "no-verdict"
    assert psutil.wait_procs(started, timeout=5)[1] == []
    assert open_ports(ports) == set()
    assert list(temporary.iterdir()) == []
