"""The process that keeps a standing cluster: it starts it, steers it for others, and ends it when it is told to.

`python -m straybit.standing.keeper FOLDER`, with what to start as JSON on standard input.
It says `ready`, or in one line why not, on standard output, and is silent from then on.

Tolerates: the end of the terminal that started it, and callers that hang or say rubbish.
When it dies itself, even by SIGKILL, processes die with it; containers stay until `straybit sweep` removes them.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import shutil
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from straybit.backends import BackendError
from straybit.backends.choose import open_backend
from straybit.cluster import Cluster
from straybit.standing.card import KEYS, Wanted, card_of, remove_card, write_card

__all__ = ["CALLS", "Answer", "Asked", "main"]

CALLS = ("kill", "pause", "unpause", "terminate", "restart", "pid", "exits", "in_service", "controls", "end")
"""What a caller may ask of the cluster, and `end` of its keeper.

`controls` and `restart` answer with where control ports are: a container's moves whenever it is started.
"""
ASK_WITHIN_S = 5.0
ASK_BYTES = 4096


class Asked(msgspec.Struct, frozen=True):
    """One call: a line of JSON."""

    token: str
    call: str
    names: tuple[str, ...] = ()


_ASKED = msgspec.json.Decoder(Asked)


class Answer(msgspec.Struct, frozen=True):
    """What came of it: a line of JSON."""

    result: Any = None
    error: str = ""


class _Door(socketserver.ThreadingTCPServer):
    """Where callers knock; `waiting` are the connections of those who told the keeper to end and wait until it has."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, token: str, answer: Callable[[Asked], Any], over: threading.Event) -> None:
        super().__init__(("127.0.0.1", 0), _Caller)
        self.waiting: list[socket.socket] = []
        self.token = token
        self.answer = answer
        self.over = over


class _Caller(socketserver.StreamRequestHandler):
    timeout = ASK_WITHIN_S
    server: _Door

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            line = self.rfile.readline(ASK_BYTES)
            answer, ends = self._answer(line)
            self.wfile.write(msgspec.json.encode(answer) + b"\n")
            self.wfile.flush()
            if ends:
                self.server.waiting.append(self.connection)
                self.server.over.set()
                self.connection.settimeout(None)
                self.rfile.read()  # until this process is gone, which is what the caller waits for

    def _answer(self, line: bytes) -> tuple[Answer, bool]:
        try:
            asked = _ASKED.decode(line)
        except msgspec.MsgspecError as error:
            return Answer(error=f"not understood: {error}"), False
        if not hmac.compare_digest(asked.token.encode(), self.server.token.encode()):
            return Answer(error="the token is wrong"), False
        if asked.call not in CALLS:
            return Answer(error=f"there is no call {asked.call!r}; there are {', '.join(CALLS)}"), False
        try:
            return Answer(result=self.server.answer(asked)), asked.call == "end"
        except (BackendError, ValueError, KeyError) as error:
            return Answer(error=str(error)), False


def keep(wanted: Wanted, folder: Path, say: Callable[[str], None]) -> None:
    """Start the cluster, and return when it was told to end and everything is gone. Raises BackendError, OSError."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    shutil.rmtree(folder / "logs", ignore_errors=True)  # those of the cluster before
    waiting: list[socket.socket] = []
    try:
        with open_backend(wanted.backend) as backend:
            cluster = backend.start(
                wanted.topology, defences=wanted.defences, seed=wanted.seed, folder=folder, keys=KEYS
            )
            token = next(cluster.control(service.name).token for service in cluster.topology.services())
            with _Door(token, lambda asked: _carry_out(cluster, asked), over) as door:
                waiting = door.waiting
                threading.Thread(target=door.serve_forever, name="straybit-door", daemon=True).start()
                write_card(folder, card_of(cluster, wanted, ("127.0.0.1", door.server_address[1]), token))
                try:
                    say("ready")
                    over.wait()
                finally:
                    remove_card(folder)
                    door.shutdown()
    except BackendError as error:  # not everything is gone, and whoever waits for that must not believe it
        for line in waiting:
            with contextlib.suppress(OSError):
                line.sendall(msgspec.json.encode(Answer(error=str(error))) + b"\n")
        raise


def _carry_out(cluster: Cluster, asked: Asked) -> object:
    match asked.call:
        case "end":
            return None
        case "controls":
            return {service.name: cluster.control(service.name).address for service in cluster.topology.services()}
        case "restart":
            cluster.restart(*asked.names)
            return cluster.control(*asked.names).address
    return getattr(cluster, asked.call)(*asked.names)


def main(arguments: list[str]) -> int:
    """Keep what standard input describes in the folder that the one argument names."""
    wanted = msgspec.json.Decoder(Wanted).decode(sys.stdin.buffer.read())
    try:
        keep(wanted, Path(arguments[0]), _say)
    except (BackendError, OSError) as error:
        _say(" ".join(str(error).split()))
        return 2
    return 0


def _say(line: str) -> None:
    """One line to whoever started this, who waits for it; nothing is read after it."""
    with contextlib.suppress(OSError):
        os.write(1, line.encode() + b"\n")
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
