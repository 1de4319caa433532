"""The command line as a stranger meets it: help, lists, dry runs, and one clear line for every wrong word."""

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from straybit.backends import BackendError
from straybit.cli import main
from straybit.cli.replay import _find
from straybit.journal import Journal
from straybit.records import RunEnded, SubRun, Trial
from straybit.runner import started
from straybit_faults.proxy.serve import ProxyStartError


@pytest.fixture
def straybit(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder; answers with exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["straybit", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=said.out, stderr=said.err)

    return run


def test_help_names_every_command_and_the_exit_codes(straybit):
    """`straybit --help` is enough to begin with."""
    done = straybit("--help")
    assert done.returncode == 0
    for word in ("demo", "run", "list", "replay", "proxy", "report", "2 no verdict"):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["demo", "run", "list", "replay", "proxy", "report"])
def test_every_command_has_a_help_text(straybit, command):
    """Each command explains itself."""
    done = straybit(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "july"], "there is no scenario 'july'; choose from june-2008, june-2008-bits, july-2008"),
        (["run", "july-2008", "--defences", "crc"], "unknown defence crc; choose from none, 2008, all"),
        (["run", "july-2008", "--budget", "recovered=soon"], "budget 'recovered=soon' is not NAME=SECONDS"),
        (["run", "july-2008", "--budget", "recovered=0"], "budget 'recovered=0' leaves no time; give more than 0"),
        (["run", "july-2008", "--budget", "lunch=5s"], "with NAME one of detected, recovered, staged"),
        (["run", "july-2008", "--seed", "-1"], "-1 is not in the range"),
        (["run", "july-2008", "--recovery", "prayer"], "'prayer' is not one of 'none', 'rolling', 'staged'"),
        (["run", "july-2008", "--servers", "1", "5"], "region eu needs 3..1000 servers"),
        (["run", "missing.py"], "cannot read missing.py: No such file or directory"),
        (["replay", "2/a:b/up/state/0/version/1"], "has schema '2'; this version reads schema 1"),
        (["replay", "1/gossip-1:gossip-2/up/state/0/version"], "needs KIND/ORDINAL/FIELD/BIT"),
        (["replay", "1/gossip-1:gossip-2/up/state/0/version/99"], "field version has bits 0..63, not 99"),
        (["replay", "1/gossip-1:gossip-9/up/state/0/version/1"], "there is no link gossip-1:gossip-9"),
        (["replay", "1/gossip-1:gossip-2/up/state/0/colour/1"], "has no field 'colour'"),
        (["replay", "no-such-trial"], "has a trial 'no-such-trial'"),
        (["replay", "1/gossip-1:gossip-2"], "is too short; expected 1/LINK/up|down/KIND/ORDINAL/FIELD/BIT"),
        (["replay", "1/"], "is too short; expected 1/LINK/up|down/KIND/ORDINAL/FIELD/BIT"),
        (["replay", "1/gossip-1:gossip-2/sideways/state/0/version/1"], "is neither up nor down"),
        (["replay", "t1", "--seed", "3"], "--seed goes with a flip id: a trial is played again as its run was"),
        (["replay", "t1", "--defences", "none"], "--defences goes with a flip id"),
        (["replay", "t1", "--backend", "process"], "--backend goes with a flip id"),
        (["replay", "t1", "--budget", "detected=1s"], "--budget goes with a flip id"),
        (["replay", "t1", "--run", "."], ". has no journal.ndjson"),
        (["replay", "--gossip-only", "1", "1/gossip-1:gossip-2/up/state/0/load/1"], "has 2..1000 nodes, not 1"),
        (["run", "july-2008", "--balancers", "0", "2"], "region eu needs 3..1000 servers and 1..100 balancers"),
        (["run", "july-2008", "--out", "/proc/nope/run"], "/proc/nope"),
        (["demo", "--out", "/proc/nope/run"], "/proc/nope"),
        (["report", "."], ". has no journal.ndjson: name a run's folder"),
        (["list", "colours"], "'colours' is not one of 'scenarios'"),
        (["explode"], "No such command 'explode'"),
    ],
)
def test_a_wrong_word_is_one_clear_line_and_exit_2(straybit, args, says):
    """Bad input says what, why and what to do, starts nothing, and is no verdict."""
    done = straybit(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert says in line


def test_no_word_at_all_is_help(straybit):
    """`straybit` alone lists the commands, and is no verdict."""
    done = straybit()
    assert done.returncode == 2
    assert "demo" in done.stderr
    assert "Error" not in done.stderr


def test_a_dry_run_prints_the_plan_and_starts_nothing(straybit, tmp_path):
    """The same seed prints the same six flips; nothing is written."""
    first, again = (straybit("run", "july-2008", "--seed", "3", "--dry-run") for _ in range(2))
    assert first.returncode == 0
    assert first.stdout == again.stdout
    assert len(first.stdout.splitlines()) == 6
    assert all(line.startswith("1/") for line in first.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_for_programs_is_an_array_and_nothing_else(straybit):
    """`--dry-run --json` prints the lines of the plan as JSON, also for a plan of one's own that has none."""
    done = straybit("run", "july-2008", "--seed", "3", "--dry-run", "--json")
    lines = straybit("run", "july-2008", "--seed", "3", "--dry-run").stdout.splitlines()
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, lines, "")


MINE = """
from straybit import scenario

def plan(topology, seed):
    {plan}

@scenario("mine", plan=plan)
def mine(run):
    {play}
"""


def test_a_plan_that_raises_is_one_clear_line(straybit, tmp_path):
    """A mistake in a user's plan is told as theirs, and is no verdict."""
    (tmp_path / "mine.py").write_text(MINE.format(plan="1 / 0", play="pass"))
    done = straybit("run", "mine.py", "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: the plan of mine raised ZeroDivisionError: division by zero\n"


def test_a_file_that_ends_the_program_is_one_clear_line(straybit, tmp_path):
    """`sys.exit(0)` in a user's file is not taken for a green run."""
    (tmp_path / "mine.py").write_text("import sys\nsys.exit(0)\n")
    done = straybit("run", "mine.py")
    assert done.returncode == 2
    assert "mine.py ends the program when it is loaded" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [["demo"], ["run", "july-2008"]])
def test_a_file_in_the_folders_place_is_one_clear_line(straybit, tmp_path, command):
    """`--out` that names a file says so, and the file stays."""
    (tmp_path / "afile").write_text("mine")
    done = straybit(*command, "--out", "afile")
    assert done.returncode == 2
    assert (
        done.stderr.splitlines()[-1] == "Error: Invalid value for --out: afile is no folder; name another one, or none"
    )
    assert (tmp_path / "afile").read_text() == "mine"


def test_a_defect_of_ours_is_one_line_and_no_verdict(straybit, monkeypatch):
    """Exit 1 means that an expectation was not met, so a bug must not end in it; STRAYBIT_DEBUG shows where."""

    def broken(*_):
        raise KeyError("lost\nword")

    monkeypatch.setattr("straybit.cli.report.write_reports", broken)
    monkeypatch.delenv("STRAYBIT_DEBUG", raising=False)
    Path("journal.ndjson").write_text("")
    done = straybit("report", ".")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["straybit: a defect of straybit: KeyError: 'lost\\nword'"]
    monkeypatch.setenv("STRAYBIT_DEBUG", "1")
    done = straybit("report", ".")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_what_a_backend_says_is_no_defect(straybit, monkeypatch):
    """An error that is written for people is told in its own words, in one line."""

    def broken(*_):
        raise BackendError("gossip-1 did not end\n  its last words")

    monkeypatch.setattr("straybit.cli.report.write_reports", broken)
    Path("journal.ndjson").write_text("")
    done = straybit("report", ".")
    assert (done.returncode, done.stderr) == (2, "straybit: gossip-1 did not end its last words\n")


def test_a_trial_of_a_run_inside_a_run_is_found(tmp_path):
    """`--run` may name a demo's folder: its runs are searched as well."""
    for folder, record in ((tmp_path, SubRun(folder="part")), (tmp_path / "part", Trial(id="t7", outcome="MASKED"))):
        folder.mkdir(exist_ok=True)
        with Journal(folder / "journal.ndjson") as journal:
            for line in (started(folder.name, command="", id="x", backend="process", seed=3), record, RunEnded()):
                journal.write(line)
    assert _find("t7", tmp_path).scenario == "part"


@pytest.mark.parametrize("options", [("--run", "straybit-out/run"), ()], ids=["named", "searched"])
def test_a_trial_in_a_damaged_journal_is_not_called_missing(straybit, tmp_path, options):
    """Where a line cannot be read, the trial may have been on it: the damage and its line are said."""
    folder = tmp_path / "straybit-out" / "run"
    folder.mkdir(parents=True)
    with Journal(folder / "journal.ndjson") as journal:
        for line in (
            started("single", command="", id="x", backend="process", seed=3),
            Trial(id="t1", outcome="MASKED"),
            RunEnded(),
        ):
            journal.write(line)
    data = (folder / "journal.ndjson").read_bytes()
    (folder / "journal.ndjson").write_bytes(data.replace(b"MASKED", b"MASKEE"))
    done = straybit("replay", "t1", *options)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "no intact line in" in said
    assert "run: journal.ndjson is damaged, line 2" in said


def test_a_search_for_a_trial_passes_folders_without_a_journal(straybit, tmp_path):
    """A stray result.json beside the runs is no reason not to find the trial, or to fall over it."""
    (tmp_path / "straybit-out" / "stray").mkdir(parents=True)
    (tmp_path / "straybit-out" / "stray" / "result.json").write_text("{}")
    done = straybit("replay", "t1")
    assert done.returncode == 2
    assert "no run in straybit-out has a trial 't1'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("what", ["scenarios", "defences", "links", "messages", "fields", "faults"])
def test_lists_are_for_people_and_for_programs(straybit, what):
    """Every list has a name in each row, as a table and as JSON."""
    names = [row["name"] for row in json.loads(straybit("list", what, "--json").stdout)]
    assert names
    lines = straybit("list", what).stdout.splitlines()
    assert [line.split()[0] for line in lines] == names


def test_a_list_of_links_uses_the_words_of_flip_ids(straybit):
    """What `list links` prints can be put into a flip."""
    rows = [line.split() for line in straybit("list", "links").stdout.splitlines()]
    assert ["gossip-1:gossip-2", "gossip", "gossip"] in rows


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\n", "defines 0 scenarios; decorate exactly one function with @scenario"),
        ("import nothing_of_that_name\n", "does not load: ModuleNotFoundError"),
        ("def f(:\n", "does not load: SyntaxError"),
    ],
)
def test_a_file_that_is_no_scenario_says_why(straybit, source, says, tmp_path):
    """A user's file with a mistake is one line, not a traceback of ours."""
    (tmp_path / "mine.py").write_text(source)
    done = straybit("run", "mine.py")
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]


def test_a_port_in_use_is_one_clear_line(straybit):
    """`straybit proxy` on a taken port says so and exits 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = straybit("proxy", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_proxy_takes_what_its_page_promises(straybit, monkeypatch, tmp_path):
    """`--config` and `--seed` of docs/proxy.md reach the proxy."""
    given = []
    monkeypatch.setattr("straybit_faults.proxy.serve.run_proxy", lambda *args, **more: given.append((args, more)))
    done = straybit("proxy", "--host", "127.0.0.1", "--port", "0", "--config", "proxies.json", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert given == [(("127.0.0.1", 0), {"seed": 7, "config": Path("proxies.json")})]


def test_the_proxy_refuses_a_wire_that_is_not_there(straybit, monkeypatch):
    """One line, exit 2, and no proxy."""
    monkeypatch.setattr("straybit_faults.proxy.serve.run_proxy", lambda *args, **more: pytest.fail("started"))
    monkeypatch.setattr("sys.path", [*sys.path])
    done = straybit("proxy", "--wire", "no_such_module:WIRE")
    assert done.returncode == 2
    assert "wire 'no_such_module:WIRE' cannot be loaded" in done.stderr


def test_a_proxy_that_cannot_start_is_one_clear_line(straybit, monkeypatch):
    """What the proxy says of a configuration that cannot be read is said as it is, and exits 2."""

    def run_proxy(*_, config, **__):
        raise ProxyStartError(f"the configuration {config} cannot be read: No such file or directory")

    monkeypatch.setattr("straybit_faults.proxy.serve.run_proxy", run_proxy)
    done = straybit("proxy", "--config", "missing.json")
    assert done.returncode == 2
    assert done.stderr == "Error: the configuration missing.json cannot be read: No such file or directory\n"
