"""The warm parent: ports that stay ours, children that own nothing of it, and nobody left when it ends."""

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from straybit.backends.nursery import Nursery, NurseryError

SOON_S = 5.0

LISTENER = """
import signal, socket
def ignore():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        signal.pause()
def listen(port):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        while True:
            server.accept()[0].close()
"""
HARNESS = """
import signal, sys
from pathlib import Path
from straybit.backends.nursery import Nursery
nursery = Nursery()
folder = Path(sys.argv[1])
nursery.tidy(folder / "temporary")
pids = [nursery.fork("signal:pause", label="x", errors=folder / "err") for _ in range(3)]
print(nursery.pid, *pids, flush=True)
signal.pause()  # until the test kills it
"""


@pytest.fixture
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def listener(tmp_path, monkeypatch):
    """A nursery whose children can listen on a port it has reserved."""
    (tmp_path / "straybit_listener.py").write_text(LISTENER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    nursery = Nursery(["straybit_listener"])
    yield nursery
    nursery.close()


def until(check, wanted=True):
    """Wait until `check` answers as wanted."""
    retry(retry=retry_if_result(lambda seen: seen != wanted), stop=stop_after_delay(SOON_S), wait=wait_fixed(0.005))(
        check
    )()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True


def connected_from(port: int, server: socket.socket) -> socket.socket:
    """A connection for which the kernel may draw only `port` (IP_LOCAL_PORT_RANGE, Linux 6.3)."""
    client = socket.socket()
    try:
        client.setsockopt(socket.IPPROTO_IP, 51, struct.pack("=I", port << 16 | port))
    except OSError:
        client.close()
        pytest.skip("this kernel cannot narrow the range of one socket's ports (Linux 6.3 can)")
    try:
        client.connect(server.getsockname())
    except OSError:
        client.close()
        raise
    return client


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_says_how_long_its_imports_took():
    """The import time is measured apart from everything else, and grows with what is imported."""
    with_nothing, with_json = Nursery(), Nursery(["xml.dom.minidom", "http.server"])
    with_nothing.close()
    with_json.close()
    assert 0 <= with_nothing.import_s < with_json.import_s


def test_a_program_that_cannot_be_imported_is_named():
    """A warm parent that cannot import a program says which and why."""
    with pytest.raises(NurseryError, match="cannot import straybit_nowhere"):
        Nursery(["straybit_nowhere"])


def test_reserved_port_refuses_connections(nursery):
    """A reserved port on which nothing listens refuses, as a dead machine does."""
    assert not answers(nursery.reserve(1)[0])


def test_reserved_port_is_given_to_nobody_else(nursery):
    """Neither by name nor by drawing does another socket get a reserved port."""
    ports = nursery.reserve(50)
    with socket.socket() as other, pytest.raises(OSError) as caught:
        other.bind(("127.0.0.1", ports[0]))
    assert caught.value.errno == errno.EADDRINUSE
    drawn = [socket.socket() for _ in range(200)]
    for sock in drawn:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
    taken = {sock.getsockname()[1] for sock in drawn}
    for sock in drawn:
        sock.close()
    assert taken.isdisjoint(ports)


def test_no_outgoing_connection_gets_a_reserved_port(nursery):
    """A connection that may only start from a reserved port cannot start; once it is released it can."""
    (port,) = nursery.reserve(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(OSError) as caught, connected_from(port, server):
            pass
        assert caught.value.errno == errno.EADDRNOTAVAIL
        nursery.release([port])
        with connected_from(port, server) as client:
            assert client.getsockname()[1] == port


def test_killed_listener_can_come_back_at_once(listener, tmp_path):
    """A service on a reserved port can be killed with connections open, refuses, and listens again there."""
    (port,) = listener.reserve(1)
    for _ in range(3):
        pid = listener.fork("straybit_listener:listen", port, label="x", errors=tmp_path / "err")
        until(lambda: answers(port))
        with socket.create_connection(("127.0.0.1", port), 1):
            listener.signal(pid, signal.SIGKILL)
            assert listener.wait(pid, SOON_S).status == -signal.SIGKILL
        assert not answers(port)


def test_released_port_is_free(nursery):
    """A released port can be bound by anybody."""
    (port,) = nursery.reserve(1)
    nursery.release([port])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_children_inherit_nothing(nursery, tmp_path):
    """A child has its standard streams and none of the nursery's sockets."""
    nursery.reserve(10)
    pid = nursery.fork("signal:pause", label="x", errors=tmp_path / "err")
    until(lambda: sorted(fd.name for fd in Path(f"/proc/{pid}/fd").iterdir()) == ["0", "1", "2"])
    until(lambda: str(Path(f"/proc/{pid}/fd/2").readlink()) == str(tmp_path / "err"))


def test_exit_status_and_last_words_are_reported(nursery, tmp_path):
    """A child's exit code is reported, and a traceback goes to its error file."""
    seven = nursery.fork("os:_exit", 7, label="seven", errors=tmp_path / "seven")
    broken = nursery.fork("json:loads", "rubbish", label="broken", errors=tmp_path / "broken")
    assert (nursery.wait(seven, SOON_S).status, nursery.wait(seven, 0).label) == (7, "seven")
    assert nursery.wait(broken, SOON_S).status == 1
    assert "JSONDecodeError" in (tmp_path / "broken").read_text()


def test_exits_are_events(tmp_path):
    """Whoever wants to know hears of every exit."""
    heard = []
    nursery = Nursery(on_exit=heard.append)
    pid = nursery.fork("os:_exit", 0, label="x", errors=tmp_path / "err")
    nursery.wait(pid, SOON_S)
    nursery.close()
    assert [exit.pid for exit in heard] == [pid]


def test_signal_to_a_stranger_is_refused(nursery):
    """The nursery signals its own children and nobody else."""
    with pytest.raises(NurseryError, match="is gone"):
        nursery.signal(os.getpid(), signal.SIGTERM)


def test_close_ends_paused_and_stubborn_children(listener, tmp_path):
    """A child that is stopped, and one that ignores SIGTERM, are gone after close."""
    paused = listener.fork("signal:pause", label="paused", errors=tmp_path / "err")
    listener.signal(paused, signal.SIGSTOP)
    stubborn = listener.fork("straybit_listener:ignore", label="stubborn", errors=tmp_path / "stubborn")
    until((tmp_path / "stubborn").read_text, "ready\n")
    listener.close()
    assert gone(paused)
    assert gone(stubborn)
    assert not listener.alive


def test_nobody_survives_the_harness(tmp_path):
    """SIGKILL of the harness ends nursery and children, and removes what was temporary."""
    (tmp_path / "temporary").mkdir()
    with subprocess.Popen([sys.executable, "-c", HARNESS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as harness:
        pids = [int(word) for word in harness.stdout.readline().split()]
        assert len(pids) == 4
        harness.kill()
    until(lambda: all(map(gone, pids)))
    until((tmp_path / "temporary").exists, False)


def test_nobody_survives_the_nursery(nursery, tmp_path):
    """SIGKILL of the warm parent ends its children, and the next call says so."""
    pid = nursery.fork("signal:pause", label="x", errors=tmp_path / "err")
    os.kill(nursery.pid, signal.SIGKILL)
    until(lambda: gone(pid))
    until(lambda: nursery.alive, False)
    with pytest.raises(NurseryError):
        nursery.reserve(1)


def test_ctrl_c_does_not_reach_the_children(nursery, tmp_path):
    """Children are in no process group or session of the terminal."""
    pid = nursery.fork("signal:pause", label="x", errors=tmp_path / "err")
    assert os.getsid(pid) == os.getsid(nursery.pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)


def test_a_listeners_mistake_does_not_end_the_reader(tmp_path, caplog):
    """Whatever hears of exits may fail; every later answer and exit still comes, and the mistake is logged."""

    def broken(exit):
        raise RuntimeError(f"cannot hear of {exit.label}")

    nursery = Nursery(on_exit=broken)
    try:
        for label in ("one", "two"):
            pid = nursery.fork("os:_exit", 0, label=label, errors=tmp_path / "err")
            assert nursery.wait(pid, SOON_S).label == label
        assert nursery.reserve(1)
    finally:
        nursery.close()
    assert [record.args for record in caplog.records] == [("one",), ("two",)]
