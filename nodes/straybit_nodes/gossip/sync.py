"""What two members still have to tell each other: the digests and deltas of an exchange.

Theory of operation.
Every view counts its changes, and two members that have talked remember how far each has been told.
The next exchange carries rows for what changed since, and the entries of what the other lacks:
it grows with what changed, not with the number of entries.

A mark is only worth something to one who heard all that came before it.
So a digest says since which mark its rows count, and up to which one its sender has heard the receiver.
A receiver that has not heard so far (its memory is new, or it lost the end of a talk) says so in its answer,
and is told everything; where the sender's mark is of a memory that the receiver no longer has, it sends all it has.
A member that begins anew has told nobody anything, so the first digest it sends to each carries all its rows.
Nothing is believed for long on the word of a number alone:
where both find nothing to say, their summaries must be equal, or they tell each other everything.
So a flipped mark, or a talk whose end was refused, costs an exchange and no entry.
"""

from __future__ import annotations

import msgspec

from straybit_nodes.gossip.messages import Digest, Entry, State
from straybit_nodes.gossip.view import View, same_memory

__all__ = ["Pending", "Sync"]


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A talk that lacks its last message: what `peer` has been told once that has come."""

    peer: str
    told: int


class Sync:
    """The marks of one member's talks: of its own memory, that a peer was told, and of the peer's, that were heard."""

    __slots__ = ("_heard", "_own", "_told", "_view")

    def __init__(self, own: str, view: View) -> None:
        self._own = own
        self._view = view
        self._told: dict[str, int] = {}
        self._heard: dict[str, int] = {}

    def open(self, peer: str) -> Digest:
        """The caller's first message."""
        view = self._view
        since = self._told.get(peer, 0)
        changed = view.since(since) if since else None
        rows = view.rows() if changed is None else tuple([entry.row for entry in changed])
        since = 0 if changed is None else since
        return Digest(rows, since, view.mark, self._heard.get(peer, 0), view.summary)

    def answer(self, sender: str, digest: Digest) -> tuple[State, Pending]:
        """The callee's: what the caller lacks, and what is wanted of it. The own entry always goes."""
        view = self._view
        told, send, want = self._compare(digest)
        heard = self._heard.get(sender, 0)
        joined = not digest.since or (same_memory(heard, digest.since) and heard >= digest.since)
        news = view.since(digest.heard) if digest.since and digest.heard else None
        if not told >= view.entries.keys():
            rest = view.entries.values() if news is None else news
            send += [entry for entry in rest if entry.owner not in told]
        if joined and news is not None and not send and not want and digest.summary != view.summary:
            joined, send = False, list(view.entries.values())
        if all(entry.owner != self._own for entry in send):
            send.append(view.entries[self._own])
        state = State(tuple(send), tuple(want), everything=not joined, upto=view.mark)
        return state, Pending(sender, view.mark)

    def reply(self, peer: str, opened: int, state: State, *, quiet: bool, whole: bool) -> State:
        """The caller's last: what was wanted, once `state` was merged. `opened` is its digest's `upto`.

        `quiet` says that nothing but `state` has changed since the digest, so that the peer knows all there is.
        `whole` False says that not every entry of it was taken; they have to come again.
        """
        view = self._view
        upto = view.mark if quiet else opened
        _note(self._told, peer, upto)
        _note(self._heard, peer, state.upto if whole else 0)
        entries = tuple(view.entries.values()) if state.everything else view.pick(state.wanted, self._own)
        return State(entries, upto=upto)

    def end(self, pending: Pending, last: State, *, whole: bool) -> None:
        """The callee has merged the last message."""
        _note(self._told, pending.peer, pending.told)
        _note(self._heard, pending.peer, last.upto if whole else 0)

    def forget(self, peer: str) -> None:
        """Of one that left."""
        self._told.pop(peer, None)
        self._heard.pop(peer, None)

    def clear(self) -> None:
        """Nobody was ever talked to."""
        self._told.clear()
        self._heard.clear()

    def _compare(self, digest: Digest) -> tuple[set[str], list[Entry], list[str]]:
        """Owners of the rows, entries that are newer here, and owners whose entries are newer there.

        Where versions tie and hashes differ, the entry goes and is wanted.
        """
        find = self._view.entries.get
        told = {row.owner for row in digest.rows}
        send: list[Entry] = []
        want: list[str] = []
        # most rows are those of the entries held, and a comprehension passes over them twice as fast as a loop
        for row in [row for row in digest.rows if (held := find(row.owner)) is None or held.row is not row]:
            owner = row.owner
            held = find(owner)
            if held is None:
                if len(want) < View.LIMIT:
                    want.append(owner)
                continue
            mine = held.row
            if row == mine:
                continue
            ours, theirs = (mine.generation, mine.version), (row.generation, row.version)
            if ours >= theirs:
                send.append(held)
            if theirs >= ours:
                want.append(owner)
        return told, send, want


def _note(marks: dict[str, int], peer: str, mark: int) -> None:
    """Keep the mark, unless there is none, or it is one peer more than a view can hold."""
    if mark and (peer in marks or len(marks) < View.LIMIT):
        marks[peer] = mark
    else:
        marks.pop(peer, None)
