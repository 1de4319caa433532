"""The commands about campaigns as a stranger meets them: what they print, and one line for every wrong word."""

import json
import sqlite3
import sys
from types import SimpleNamespace

import pytest

from straybit.campaign.store import DATABASE
from straybit.cli import main

STATE = "gossip-1:gossip-2/state"
FLIP = "1/gossip-1:gossip-2/up/state/0/gossip-3.version/62"


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


@pytest.mark.parametrize("command", ["campaign", "diff", "agree", "shrink"])
def test_every_command_has_a_help_text(straybit, command):
    """Each command explains itself."""
    done = straybit(command, "--help")
    assert done.returncode == 0
    assert "Exits 1" in done.stdout or command == "shrink"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["campaign"], "say --census LINK/KIND for every bit of a message, or --sample LINK/KIND for some"),
        (["campaign", "--census", STATE, "--sample", STATE], "say --census LINK/KIND"),
        (["campaign", "--census", "state"], "is not CALLER:CALLEE"),
        (["campaign", "--census", "gossip-1:gossip-2"], "is no message: say LINK/KIND"),
        (["campaign", "--census", "gossip-1:gossip-9/state"], "there is no link gossip-1:gossip-9"),
        (["campaign", "--census", "gossip-1:gossip-2/place"], "never came; what came on that link, in that direction"),
        (["campaign", "--census", STATE, "--field", "colour"], "has no field 'colour'; it has magic"),
        (["campaign", "--sample", STATE, "--margin", "0%"], "'0%' is no share between 0 and 1; say 5% or 0.05"),
        (["campaign", "--sample", STATE, "--confidence", "sure"], "'sure' is no share"),
        (["campaign", "--census", STATE, "--stop-at", "DOOM"], "'DOOM' is no outcome; choose from INVALID, SPREAD"),
        (["campaign", "--census", STATE, "--time", "soon"], "'soon' is no duration; say 90s, 5m or 1h"),
        (["campaign", "--census", STATE, "--nodes", "1"], "1 is not in the range"),
        (["campaign", "--census", STATE, "--lanes", "0"], "0 is not in the range"),
        (["campaign", "--census", STATE, "--backend", "moon"], "'moon' is not one of"),
        (["campaign", "--resume", "nowhere"], "nowhere has no campaign.sqlite"),
        (["campaign", "--rebuild", "nowhere"], "there is nothing to rebuild from"),
        (["campaign", "--census", STATE, "--out", "/proc/nope/c"], "/proc/nope"),
        (["campaign", "moon", "--census", STATE], "'moon' is not 'reference'"),
        (["diff", "a", "b"], "a cannot be read (No such file or directory)"),
        (["agree", "--backends", "sim"], "is not two backends or more"),
        (["agree", "--backends", "sim,moon"], "there are"),
        (["agree", "--backends", "sim,sim", "--sample", "2"], "a sample of 2 cannot cover"),
        (["shrink", "1/gossip-1:gossip-2"], "is too short"),
        (["shrink", FLIP.replace("up/state/0", "up/state/7")], "shrinking it proves nothing: no message came"),
        (["shrink", "abcdef-12"], "no campaign in straybit-out has a trial 'abcdef-12'"),
        (["replay", "abcdef-12"], "no campaign in straybit-out has a trial 'abcdef-12'"),
        (["replay", "abcdef-12", "--run", "nowhere"], "nowhere has no campaign.sqlite"),
        (["replay", "--stepped", "1/gossip-1:gossip-9/up/state/0/load/1"], "there is no link gossip-1:gossip-9"),
    ],
)
def test_a_wrong_word_is_one_clear_line_and_exit_2(straybit, args, says):
    """Bad input says what, why and what to do, and is no verdict."""
    done = straybit(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def census(straybit, out, *more, field="status"):
    return straybit("campaign", "--census", STATE, "--field", field, "--defences", "none", "--out", out, *more)


def test_a_census_ends_in_a_map_and_exit_1_for_dangerous_bits(straybit, tmp_path):
    """The text on standard output, the page, the JSON and the rows in its folder."""
    done = census(straybit, "c")
    assert done.returncode == 1
    assert "16 of 16 bits are dangerous, no defences" in done.stdout
    assert {path.name for path in (tmp_path / "c").iterdir()} >= {"map.html", "map.json", "map.txt", "campaign.sqlite"}


def test_a_defended_census_exits_0(straybit):
    """Nothing dangerous, nothing INVALID."""
    done = straybit("campaign", "--census", STATE, "--field", "status", "--defences", "2008", "--out", "c")
    assert (done.returncode, "0 of 16 bits are dangerous" in done.stdout) == (0, True)


def test_a_baseline_forgives_what_it_has(straybit):
    """The same bits again are no news; others are."""
    census(straybit, "old")
    assert census(straybit, "same", "--baseline", "old").returncode == 0
    assert census(straybit, "new", "--baseline", "old", field="version").returncode == 1


def test_json_is_the_map_and_nothing_else(straybit):
    """People's output goes to standard error."""
    done = census(straybit, "c", "--json")
    assert json.loads(done.stdout)["dangerous"]["count"] == 16
    assert "map: c/map.html" in done.stderr


def test_a_campaign_stops_at_the_first_of_a_kind_and_goes_on(straybit):
    """What was done is kept; going on ends as if it had never stopped."""
    done = census(straybit, "c", "--stop-at", "SPREAD")
    assert "stopped: 1 SPREAD, as asked for; " in done.stdout
    again = straybit("campaign", "--resume", "c")
    assert "16 of 16 bits are dangerous" in again.stdout
    assert "16 of 16 bits are dangerous" in straybit("campaign", "--rebuild", "c").stdout


def test_a_folder_with_a_campaign_is_not_written_over(straybit):
    """It says how to go on."""
    census(straybit, "c")
    done = census(straybit, "c")
    assert done.returncode == 2
    assert "go on with --resume c" in done.stderr.splitlines()[-1]


def test_a_sample_larger_than_the_space_is_a_census(straybit):
    """16 bits at 1 %: all of them."""
    done = straybit("campaign", "--sample", STATE, "--field", "status", "--margin", "1%", "--out", "c")
    assert "census: 16 of 16 bits tried" in done.stdout


def test_a_damaged_database_says_how_to_rebuild_it_and_is_rebuilt(straybit, tmp_path):
    """What was done is in the journals."""
    before = census(straybit, "c").stdout
    (tmp_path / "c" / DATABASE).write_bytes(b"half")
    done = straybit("campaign", "--resume", "c")
    assert done.returncode == 2
    assert "half written or damaged" in done.stderr.splitlines()[-1]
    assert "straybit campaign --rebuild" in done.stderr.splitlines()[-1]
    assert straybit("campaign", "--rebuild", "c").stdout.splitlines()[0] in before
    with sqlite3.connect(tmp_path / "c" / DATABASE) as db:
        assert db.execute("SELECT count(*) FROM trials").fetchone() == (18,)
    db.close()


def test_a_trial_is_played_again_by_its_id(straybit, tmp_path):
    """The id brings its setup along, and the end is the same."""
    census(straybit, "straybit-out/c")
    cell = json.loads((tmp_path / "straybit-out" / "c" / "map.json").read_bytes())["fields"][0]["cells"][3]
    done = straybit("replay", cell["trial"])
    assert done.returncode == 0
    assert f"trial {cell['trial']}: the same: {cell['outcome']} then, {cell['outcome']} now" in done.stdout
    assert straybit("shrink", cell["trial"]).stdout.startswith("from straybit import DANGEROUS, stepped\n")


def test_a_replay_line_of_a_trial_plays_it(straybit, tmp_path):
    """What a record says of itself is a whole command."""
    done = straybit("replay", "--stepped", FLIP, "--defences", "none", "--json")
    assert done.returncode == 1
    trial = json.loads(done.stdout)
    words = trial["replay"].split()
    assert words[:2] == ["straybit", "replay"]
    assert json.loads(straybit(*words[1:], "--json").stdout) == trial


def test_two_maps_are_compared(straybit):
    """+64 dangerous bits, exit 1; the other way round exit 0."""
    census(straybit, "none", field="gossip-3.version")
    straybit("campaign", "--census", STATE, "--field", "gossip-3.version", "--defences", "2008", "--out", "crc")
    done = straybit("diff", "crc", "none")
    assert done.returncode == 1
    assert "+62 dangerous bits in `version`" in done.stdout
    back = straybit("diff", "none", "crc")
    assert (back.returncode, "-62 dangerous bits in `version`" in back.stdout) == (0, True)
    assert straybit("diff", "none", "none").stdout.splitlines()[-1] == "no bit changed"


def test_a_backend_agrees_with_itself(straybit, tmp_path):
    """Every flip alike, a journal for each, and the agreement as JSON."""
    done = straybit("agree", "--backends", "sim,sim", "--sample", "20", "--out", "a", "--json")
    assert done.returncode in {0, 2}
    found = json.loads(done.stdout)
    assert (found["overall"]["same"], found["differing"]) == (20, [])
    assert (tmp_path / "a" / "sim-2" / "journal.ndjson").is_file()
    assert json.loads((tmp_path / "a" / "agreement.json").read_bytes()) == found
