"""Starts a standing cluster: its keeper, in a session of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from straybit.backends import BackendError
from straybit.standing.card import Card, NoClusterError, Wanted, read_card, remove_card
from straybit.standing.remote import ask

__all__ = ["start"]


def start(wanted: Wanted, folder: Path) -> Card:
    """Start it and return when it runs. Raises BackendError, also when there is one in `folder` already."""
    folder = folder.resolve()
    _make_room(folder)
    with (folder / "keeper.err").open("ab") as errors:
        keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "straybit.standing.keeper", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        with keeper.stdin, keeper.stdout:
            keeper.stdin.write(msgspec.json.encode(wanted))
            keeper.stdin.close()
            said = keeper.stdout.readline().decode().strip()
    except KeyboardInterrupt:
        keeper.terminate()
        keeper.wait()
        raise
    if said != "ready":
        raise BackendError(said or f"the keeper ended without a word; see {folder / 'keeper.err'}")
    return read_card(folder)


def _make_room(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"{folder} cannot be made: {error.strerror}; name another folder with --cluster") from None
    try:
        card = read_card(folder)
    except NoClusterError:
        return
    try:
        ask(card, "exits")
    except NoClusterError:
        remove_card(folder)
        return
    why = f"a cluster runs in {folder} already"
    raise BackendError(f"{why}; `straybit cluster down` ends it, --cluster names another folder")
