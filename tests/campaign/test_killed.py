"""A campaign that is killed again and again ends as one that is left alone."""

import random
import signal
import subprocess
import sys

import pytest

from straybit.campaign.store import Store, journal_paths, rebuild
from straybit.waiting import wait_until

pytestmark = pytest.mark.proof

KILLS = 10
PLAN = ("--census", "gossip-1:gossip-2/state", "--field", "version", "--field", "load", "--defences", "none")


def straybit(*words):
    command = [sys.executable, "-c", "from straybit.cli import main; main()", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def lines(folder):
    return sum(path.read_bytes().count(b'"event":"trial"') for path in journal_paths(folder))


def test_ten_kills_change_no_row(tmp_path):
    """SIGKILL after a few trials each: nothing is lost, nothing is played twice, and the journals tell it all."""
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    first = straybit("campaign", *PLAN, "--out", str(alone))
    assert b"dangerous" in first.communicate(timeout=120)[0]
    rng = random.Random(7)
    begin = [*PLAN, "--out", str(killed)]
    for _ in range(KILLS):
        before = lines(killed)
        wanted = before + rng.randint(1, 14)
        process = straybit("campaign", *begin)
        assert wait_until(lambda: lines(killed) >= wanted, 60, every_s=0.005)  # noqa: B023 - asked at once
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        begin = ["--resume", str(killed)]
    last = straybit("campaign", *begin)
    said = last.communicate(timeout=120)[0].decode()
    assert last.returncode == 1, said
    with Store(alone) as one, Store(killed) as other:
        rows = one.rows()
        assert other.rows() == rows
        assert len(rows) == 176
    assert lines(killed) == len(rows)
    with rebuild(killed) as again:
        assert again.rows() == rows


def test_a_campaign_killed_before_its_first_trial_says_what_to_do(tmp_path):
    """A folder with nothing in it is no campaign yet."""
    process = straybit("campaign", "--resume", str(tmp_path))
    said = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 2
    assert "has no campaign.sqlite" in said.splitlines()[-1]
