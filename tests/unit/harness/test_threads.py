"""What several threads read: msgspec learns a type when it first meets it, and others may meet it half learned.

Then they read through a null pointer: a run ended by SIGSEGV in the middle of a trial, without a word.
So whatever several threads read is learned while modules are imported, which ruff sees to.
"""

import json
import subprocess
import sys

import pytest

CONTROL = """
from straybit.control import Control

ENTRY = '{"address": 1, "status": 1, "load": 1, "generation": 1, "version": 1}'
VIEW = f'{{"name": "a", "now": 1, "state": "running", "entries": {{"a": {ENTRY}}}}}'
Control._send = lambda *_, **__: VIEW.encode()
read = Control("a", ("127.0.0.1", 1), "token").view
"""
PROXY = """
from types import SimpleNamespace
from straybit_faults.client import ProxyServer

TOXIC = '{"name": "t", "type": "bitflip", "stream": "upstream", "toxicity": 1, "attributes": {}}'
PROXIES = f'{{"a": {{"name": "a", "listen": "h:1", "upstream": "h:2", "enabled": true, "toxics": [{TOXIC}]}}}}'
server = ProxyServer()
server._consumer.get = lambda *_, **__: SimpleNamespace(ok=True, content=PROXIES.encode())
read = server.proxies
"""
JOURNAL = """
from straybit.journal import _encode
from straybit.records import Trial

read = lambda: _encode(Trial(id="t1", outcome="MASKED"))  # what is written is read back, before the lock is taken
"""
LEARNS = """
import msgspec

class Inner(msgspec.Struct):
    number: int

class Outer(msgspec.Struct):
    inner: Inner

read = lambda: msgspec.json.decode(b'{"inner": {"number": 1}}', type=Outer)
"""
AT_EACH_MOMENT = """
import json, os, sys, threading

def first_read(moment):
    # At the call of that number below the first read another thread reads, from its beginning to its end.
    left = iter(range(moment, -1, -1))

    def at_a_call(*_):
        if next(left, None) == 0:
            other = threading.Thread(target=read)
            other.start()
            other.join(5)

    sys.setprofile(at_a_call)
    read()
    sys.setprofile(None)
    os._exit(next(left, None) is not None)

def end_of(moment):
    pid = os.fork()
    if pid == 0:
        first_read(moment)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

ends = [end_of(0)]
while ends[-1] != 1:
    ends.append(end_of(len(ends)))
print(json.dumps(ends[:-1]))
"""


@pytest.fixture
def ends(tmp_path):
    """How a fresh process ends for each moment of its first read in which another thread reads as well."""

    def play(reader):
        program = [sys.executable, "-c", reader + AT_EACH_MOMENT]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return play


@pytest.mark.parametrize("reader", [CONTROL, PROXY, JOURNAL], ids=["control", "proxy", "journal"])
def test_threads_may_read_at_any_moment_of_each_others_first_read(ends, reader):
    """No moment of it ends the process."""
    ended = ends(reader)
    assert len(ended) > 1
    assert set(ended) == {0}


def test_a_type_that_is_learned_while_it_is_read_ends_the_process(ends):
    """The planted fault: were it to live, ruff need not forbid msgspec.json.decode any longer."""
    assert -11 in ends(LEARNS)
