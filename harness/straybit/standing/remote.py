"""A standing cluster from another process: the same `Cluster`, whose services are steered through its keeper."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from straybit.backends import BackendError
from straybit.cluster import Cluster, Spec
from straybit.control import Control
from straybit.observe import Follower, Observers
from straybit.services import Exit
from straybit.standing.card import Card, NoClusterError, read_card, remove_card
from straybit_faults.client import ProxyServer

__all__ = ["Remote", "ask", "attach", "end"]

ANSWER_S = 60.0
"""For the slowest call: a restart ends a container, at worst after 13 s, and waits up to 20 s for the next."""
END_S = 60.0
"""For a cluster of 21 containers on a busy machine; an idle one needs 5 s."""


class _Answer(msgspec.Struct, frozen=True):
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""


_ANSWER = msgspec.json.Decoder(_Answer)
_ADDRESS = msgspec.json.Decoder(tuple[str, int])
_ADDRESSES = msgspec.json.Decoder(dict[str, tuple[str, int]])
_EXITS = msgspec.json.Decoder(tuple[Exit, ...])
_NUMBER = msgspec.json.Decoder(int)
_YES = msgspec.json.Decoder(bool)


def ask(card: Card, call: str, *names: str) -> msgspec.Raw:
    """One call to the keeper, and the JSON that it answers.

    Raises NoClusterError when it is gone, BackendError with its word when it refuses.
    """
    with _connected(card) as line:
        return _asked(line, card, call, *names)


def end(folder: Path) -> Card:
    """End the cluster in `folder`; it is gone when this returns, with its data. Raises BackendError where it is not."""
    card = read_card(folder)
    try:
        with _connected(card) as line:
            _asked(line, card, "end")
            line.settimeout(END_S)
            with line.makefile("rb") as words:
                parting = words.readline()  # nothing, when it has ended and everything with it
    except NoClusterError:
        remove_card(folder)
        raise
    except TimeoutError:
        then = "; `straybit sweep` then removes what is left" if card.run else ""
        why = f"the keeper (process {card.pid}) did not end within {END_S:g} s"
        raise BackendError(f"{why}; end it by hand{then}") from None
    except ConnectionError:  # it ended without closing the line in order
        parting = b""
    if parting:
        raise BackendError(_ANSWER.decode(parting).error)
    return card


def attach(folder: Path) -> Cluster:
    """The cluster in `folder`. Closing it lets go of it and ends nothing. Raises NoClusterError."""
    folder = folder.resolve()
    card = read_card(folder)
    addresses = _ADDRESSES.decode(ask(card, "controls"))
    wanted = card.wanted
    controls = {name: Control(name, address, card.token) for name, address in addresses.items()}
    logs = {name: folder / "logs" / f"{name}.ndjson" for name in controls}
    cluster = Cluster(
        Spec(
            topology=wanted.topology,
            defences=frozenset(wanted.defences),
            seed=wanted.seed,
            keys=(card.access_key, card.secret_key),
        ),
        folder,
        backend=wanted.backend,
        services=Remote(card, controls),
        controls=controls,
        proxy=ProxyServer(*card.proxy),
        network=ProxyServer(*card.network) if card.network else None,
        run=card.run,
        endpoints=card.endpoints,
        observers=Observers(Follower(logs, news=True)),
    )
    cluster.restart_s = card.restart_s
    cluster.serials = itertools.count(time.monotonic_ns())  # receipts of whoever was attached before are still there
    cluster.observers.start()
    return cluster


class Remote:
    """The services of a standing cluster, as Services; every call is the keeper's.

    `controls` follow a service that is started again from here; whoever else is attached meanwhile attaches anew.
    """

    def __init__(self, card: Card, controls: Mapping[str, Control]) -> None:
        self._card = card
        self._controls = controls

    def kill(self, name: str) -> None:
        """As Services.kill."""
        ask(self._card, "kill", name)

    def pause(self, name: str) -> None:
        """As Services.pause."""
        ask(self._card, "pause", name)

    def unpause(self, name: str) -> None:
        """As Services.unpause."""
        ask(self._card, "unpause", name)

    def terminate(self, name: str) -> None:
        """As Services.terminate."""
        ask(self._card, "terminate", name)

    def start(self, name: str) -> None:
        """As Services.start."""
        address = _ADDRESS.decode(ask(self._card, "restart", name))
        self._controls[name].move(address)

    def pid(self, name: str) -> int:
        """As Services.pid."""
        return _NUMBER.decode(ask(self._card, "pid", name))

    def exits(self) -> tuple[Exit, ...]:
        """As Services.exits."""
        return _EXITS.decode(ask(self._card, "exits"))

    def running(self, name: str) -> bool:
        """As Services.running."""
        return _YES.decode(ask(self._card, "in_service", name))

    def end(self) -> None:
        """Nothing: the cluster is not this process's."""

    def clean(self, keep: bool) -> None:
        """Nothing: the cluster is not this process's."""


def _connected(card: Card) -> socket.socket:
    try:
        return socket.create_connection(card.keeper, ANSWER_S)
    except OSError as error:
        left = f"; `straybit sweep` removes its containers ({card.run})" if card.run else ", and the cluster with it"
        why = f"the keeper of the cluster is gone ({error.strerror or error}){left}"
        raise NoClusterError(f"{why}; `straybit cluster up` starts another") from None


def _asked(line: socket.socket, card: Card, call: str, *names: str) -> msgspec.Raw:
    asked = {"token": card.token, "call": call, "names": names}
    try:
        line.sendall(msgspec.json.encode(asked) + b"\n")
        said = b""
        while not said.endswith(b"\n") and (data := line.recv(1 << 16)):
            said += data
        answer = _ANSWER.decode(said)
    except (OSError, msgspec.MsgspecError) as error:
        raise NoClusterError(f"the keeper of the cluster did not answer {call}: {error}") from None
    if answer.error:
        raise BackendError(answer.error)
    return answer.result
