"""Whose containers they are: a process that is alive, a dead one, or nobody this machine knows."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from straybit.backends import _owner
from straybit.backends._owner import is_alive, this_owner


def label(**changed):
    """This process's own, with other words in some of its places."""
    words = dict(zip(("host", "pid", "start", "boot", "namespace"), this_owner().split("/"), strict=True))
    return "/".join({**words, **{name: str(word) for name, word in changed.items()}}.values())


def test_an_owner_is_alive_while_its_process_runs():
    """The label names host, process and its start, so that a later process with its number is another."""
    start = int(this_owner().split("/")[2])
    assert is_alive(this_owner()) is True
    assert is_alive(label(start=start - 1)) is False


def test_the_dead_are_dead():
    """A process that has ended is no owner any more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert is_alive(label(pid=process.pid, start=1)) is False


def test_one_that_has_ended_and_was_not_waited_for_is_dead():
    """A zombie keeps number and start, and owns nothing."""
    with subprocess.Popen(["sleep", "60"]) as process:
        start = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        owner = label(pid=process.pid, start=start)
        assert is_alive(owner) is True
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_alive(owner) is False


@pytest.mark.parametrize("place", ["host", "boot", "namespace"])
def test_nobody_knows_of_other_machines_boots_and_namespaces(place):
    """There the same number is another process: neither a living run nor a dead one."""
    assert is_alive(label(**{place: "elsewhere"})) is None


def test_boot_and_namespace_are_in_the_label():
    """As the kernel says them."""
    assert this_owner().split("/")[3:] == [
        Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        str(Path("/proc/self/ns/pid").stat().st_ino),
    ]


def test_nobody_knows_of_labels_without_all_this():
    """One of an earlier version, one started by hand, and rubbish."""
    old = "/".join(this_owner().split("/")[:3])
    assert [is_alive(owner) for owner in (old, "", "by-hand", "a/b/c")] == [None] * 4


def test_nobody_knows_of_a_process_that_is_hidden(monkeypatch):
    """It is there, and /proc does not show it to this user."""
    owner = this_owner()
    monkeypatch.setattr(_owner, "_state_and_start", lambda _: ("", ""))
    assert is_alive(owner) is None


def test_where_the_kernel_says_nothing_host_and_number_decide(monkeypatch, tmp_path):
    """Elsewhere than on Linux there is no /proc."""
    monkeypatch.setattr(_owner, "BOOT", tmp_path / "none")
    monkeypatch.setattr(_owner, "NUMBERS", tmp_path / "none")
    monkeypatch.setattr(_owner, "_state_and_start", lambda _: ("", ""))
    assert this_owner().endswith("///")
    assert is_alive(this_owner()) is True
