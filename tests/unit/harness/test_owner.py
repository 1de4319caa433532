"""Whose containers they are: a process that is alive, a dead one, or nobody this machine knows."""

import subprocess
import sys

from straybit.backends._owner import is_alive, this_owner


def test_an_owner_is_alive_while_its_process_runs():
    """The label names host, process and its start, so that a later process with its number is another."""
    mine = this_owner()
    host, pid, start = mine.split("/")
    assert is_alive(mine) is True
    assert is_alive(f"{host}/{pid}/{int(start) - 1}") is False


def test_the_dead_are_dead():
    """A process that has ended is no owner any more."""
    host = this_owner().partition("/")[0]
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert is_alive(f"{host}/{process.pid}/1") is False


def test_nobody_knows_of_other_machines():
    """Another machine's run, one started by hand, and rubbish are neither alive nor dead from here."""
    _, pid, start = this_owner().split("/")
    assert [is_alive(owner) for owner in (f"elsewhere/{pid}/{start}", "", "by-hand", "a/b/c")] == [None] * 4
