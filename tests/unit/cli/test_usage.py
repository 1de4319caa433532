"""The command line as a stranger meets it: help, lists, dry runs, and one clear line for every wrong word."""

import json
import socket
import sys
from types import SimpleNamespace

import pytest

from straybit.cli import main


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
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_dry_run_prints_the_plan_and_starts_nothing(straybit, tmp_path):
    """The same seed prints the same six flips; nothing is written."""
    first, again = (straybit("run", "july-2008", "--seed", "3", "--dry-run") for _ in range(2))
    assert first.returncode == 0
    assert first.stdout == again.stdout
    assert len(first.stdout.splitlines()) == 6
    assert all(line.startswith("1/") for line in first.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


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
