"""Deliberately weak gossip nodes: each has one planted hole, and a census must find it.

Their checks are whole but for that hole, and apart from the sound node's own code, so that neither hides in the other.
"""

import google_crc32c
import msgspec

from straybit.sim.weak import Weak
from straybit_nodes.gossip.codec import Bad, Framer, encode
from straybit_nodes.gossip.core import Core
from straybit_nodes.gossip.layout import CHECKSUM_AT, GUARD_AT, HEADER
from straybit_nodes.gossip.messages import State
from straybit_nodes.gossip.seal import Seals

TYPE_AT, FLAGS_AT, LENGTH_AT = (HEADER.offset(name) for name in ("type", "flags", "length"))
SIZE = HEADER.packed.size


def crc(data):
    return int(google_crc32c.value(bytes(data))).to_bytes(4)


def blank(frame, *places):
    """The frame with those bytes as 0."""
    copy = bytearray(frame)
    for at, length in places:
        copy[at : at + length] = bytes(length)
    return copy


class OwnFramer:
    """A framer with a check of its own in front of the sound one's parser; whole in this form."""

    def __init__(self, checked):
        self.checked = checked
        self.parser = Framer(checked=False)
        self.buffer = bytearray()
        self.lost = False

    def feed(self, data):
        self.buffer += data
        found = []
        while not self.lost and (one := self.next()) is not None:
            self.lost = isinstance(one, Bad)
            found.append(one)
        return found

    def next(self):
        if self.checked and len(self.buffer) >= CHECKSUM_AT and not self.guarded():
            return self.bad("gossip-crc", bytes(self.buffer))
        if len(self.buffer) < SIZE:
            return None
        size = SIZE + int.from_bytes(self.buffer[LENGTH_AT : LENGTH_AT + 4])
        if len(self.buffer) < size:
            return None
        raw = bytes(self.buffer[:size])
        del self.buffer[:size]
        if self.checked and not self.summed(raw):
            return self.bad("gossip-crc", raw)
        return self.parser.feed(raw)[0]

    def guarded(self):
        return self.buffer[GUARD_AT:CHECKSUM_AT] == crc(self.buffer[:GUARD_AT])

    def summed(self, raw):
        return raw[CHECKSUM_AT : CHECKSUM_AT + 4] == crc(blank(raw, (CHECKSUM_AT, 4)))

    def end(self):
        return self.bad("parse", bytes(self.buffer)) if self.buffer and not self.lost else None

    def bad(self, by, raw):
        self.lost = True
        return Bad(by, "planted", "", "", int(google_crc32c.value(raw)))


# A CRC that leaves out the type byte.


class TypeForgotten(OwnFramer):
    def guarded(self):
        return self.buffer[GUARD_AT:CHECKSUM_AT] == crc(blank(self.buffer[:GUARD_AT], (TYPE_AT, 1)))

    def summed(self, raw):
        return raw[CHECKSUM_AT : CHECKSUM_AT + 4] == crc(blank(raw, (CHECKSUM_AT, 4), (TYPE_AT, 1)))


def encode_without_type(message, sender, *, sealed):
    frame = bytearray(encode(message, sender, sealed=sealed))
    if sealed:
        frame[GUARD_AT:CHECKSUM_AT] = crc(blank(frame[:GUARD_AT], (TYPE_AT, 1)))
        frame[CHECKSUM_AT : CHECKSUM_AT + 4] = crc(blank(frame, (CHECKSUM_AT, 4), (TYPE_AT, 1)))
    return bytes(frame)


# A length trusted before the check: no guard, and what never became whole is forgotten.


class LengthTrusted(OwnFramer):
    def guarded(self):
        return True

    def end(self):
        return None


# A checksum skipped by a flag bit.


class FlagBelieved(OwnFramer):
    def guarded(self):
        return not self.buffer[FLAGS_AT] & 1 or super().guarded()

    def summed(self, raw):
        return not raw[FLAGS_AT] & 1 or super().summed(raw)


class OwnCore(Core):
    """A core that knows a damaged entry when it sees one, whatever its defences are; whole in this form."""

    def __init__(self, origin, members, rules, defences, rng, now):
        self.seals_of_mine = Seals(origin.key)
        super().__init__(origin, members, rules, defences, rng, now)

    def received(self, conn, sender, message, now, crc=0):
        entries = message.entries if isinstance(message, State) else ()
        damaged = [entry for entry in entries if self.seals_of_mine.check(entry) is not None]
        message = self.before(message, damaged)
        super().received(conn, sender, message, now, crc)
        self.after(damaged)

    def before(self, message, damaged):
        return message

    def after(self, damaged):
        pass


# A version merged by max, with no bound, before anything is judged.


class VersionByMax(OwnCore):
    def before(self, message, damaged):
        for entry in damaged:
            held = self.view.entries.get(entry.owner)
            if held is not None and held.address == entry.address and entry.version > held.version:
                self.view.put(msgspec.structs.replace(held, version=entry.version))
        return message


# A digest checked after the value is used.


class DigestTooLate(OwnCore):
    def before(self, message, damaged):
        for entry in damaged:
            if self.view.better(entry):
                self.view.put(entry)
        return message


# A value accepted on the second try.


class SecondTry(OwnCore):
    def __init__(self, *args, **more):
        self.refused_once = {}
        super().__init__(*args, **more)

    def before(self, message, damaged):
        for entry in self.refused_once.values():
            if self.view.better(entry):
                self.view.put(entry)
        return message

    def after(self, damaged):
        self.refused_once = {entry.owner: entry for entry in damaged}


# A value that is not believed, but written to disk, and read from there after a restart.


class WrittenUnread(OwnCore):
    disk = {}  # noqa: RUF012 - a disk outlives the process, which is the point

    def __init__(self, origin, members, rules, defences, rng, now):
        super().__init__(origin, members, rules, defences, rng, now)
        if now == 0.0:
            self.disk[origin.name] = {}
        for entry in self.disk[origin.name].values():
            self.view.put(entry)

    def before(self, message, damaged):
        if not isinstance(message, State):
            return message
        return msgspec.structs.replace(message, entries=tuple(e for e in message.entries if e not in damaged))

    def after(self, damaged):
        self.disk[self.name] |= {entry.owner: entry for entry in damaged}


OWN_FRAMER = Weak(framer=OwnFramer)
OWN_CORE = Weak(core=OwnCore)
