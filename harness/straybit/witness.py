"""What was seen of one trial's flips: receipts, frames and requests that arrived, who noticed, and who believed them.

Nothing is inferred: a detection counts when it names the flipped message's checksum or the request,
a frame is felt when its receiver has counted it, and a value is wrong when its owner never said it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from straybit.cluster import Cluster
from straybit.control import ControlError, NodeSilentError
from straybit.faults import Toxic
from straybit.observe import Observation
from straybit.observe.felt import felt
from straybit.oracle import Wrong, wrong_values
from straybit.records import Detection
from straybit.services import Exit
from straybit.traffic import Answer
from straybit_faults.receipt import Receipt
from straybit_faults.wire import Direction

__all__ = ["Witness"]


class Witness:
    """Watches one trial from the moment it is made, before anything is armed; `toxics` are its toxics by name.

    Names of toxics are used once in the life of a cluster, so that a receipt belongs to one trial only.
    """

    def __init__(self, cluster: Cluster, toxics: Mapping[str, Toxic]) -> None:
        self._cluster = cluster
        self._toxics = dict(toxics)
        self._mark = cluster.observers.mark()
        self._exits = len(cluster.exits())
        self._members = {s.name: s.member for s in cluster.topology.services()}
        links = {toxic.link for toxic in self._toxics.values()}
        specs = (spec for link in links for spec in cluster.topology.links(link.partition(":")[0]))
        self._wires = {spec.name: spec.wire for spec in specs}
        self._frames = {name: self._next_frame(name) for name in self._possible_receivers()}
        self.receipts: tuple[Receipt, ...] = ()
        self.felt: dict[int, float] = {}
        self.wrong: set[Wrong] = set()

    # -- the proxy's word ----------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask the proxy for the receipts of this trial. Raises ProxyError."""
        links = sorted({toxic.link for toxic in self._toxics.values()})
        found = [r for link in links for r in self._cluster.proxy.receipts(link) if r.toxic in self._toxics]
        self.receipts = tuple(self._arrived(r) for r in sorted(found, key=lambda r: r.seq))

    def _arrived(self, receipt: Receipt) -> Receipt:
        """Behind Toxiproxy only that acknowledges what goes down to a caller: there it is delivered when it is felt."""
        if not self._cluster.fronted or receipt.direction == Direction.UP:
            return receipt
        self._feel(receipt)
        return msgspec.structs.replace(receipt, delivered=self.felt.get(receipt.seq))

    @property
    def delivered(self) -> bool:
        """As of the last `refresh`: every flip has left the proxy and was acknowledged."""
        return not self.unsent and all(r.delivered is not None for r in self.receipts)

    @property
    def unsent(self) -> frozenset[str]:
        """Names of toxics that had found no message to flip."""
        return frozenset(self._toxics) - {r.toxic for r in self.receipts}

    @property
    def sent(self) -> float | None:
        """When the first flip left the proxy."""
        return min((r.sent for r in self.receipts if r.sent is not None), default=None)

    # -- the receivers' word -------------------------------------------------------------------------------

    def all_felt(self) -> bool:
        """Every receiver shows that it took the flipped message; asks those that have not yet."""
        for receipt in self.receipts:
            self._feel(receipt)
        return len(self.felt) == len(self.receipts) > 0

    def _feel(self, receipt: Receipt) -> None:
        moment = None if receipt.seq in self.felt else self._felt_at(receipt)
        if moment is not None:
            self.felt[receipt.seq] = moment

    def _felt_at(self, receipt: Receipt) -> float | None:
        name = _receiver(receipt)
        if self._in_request(receipt):
            lines = self._cluster.observers.seen("request", since=self._mark)
            return next((o.t for o in lines if _identity(o) == receipt.identity and o.t >= (receipt.sent or 0.0)), None)
        try:
            frame = felt(self._cluster.control(name), receipt.crc or 0, self._frames.get(name, 0))
        except ControlError:
            return None
        return frame.t if frame else None

    def _in_request(self, receipt: Receipt) -> bool:
        """Logs name a request or its reply by method and target; any other message by its checksum."""
        return receipt.crc is None or self._wires.get(receipt.proxy) == "http1"

    def _key(self, receipt: Receipt) -> str:
        """How whoever notices this message names it."""
        return str(receipt.identity) if self._in_request(receipt) else f"crc {receipt.crc:08x}"

    def receivers(self) -> frozenset[str]:
        """Services of the servers that a flipped message went to: the receiver and whoever is beside it."""
        hit = {self._member(_receiver(r)) for r in self.receipts}
        return frozenset(name for name, member in self._members.items() if member in hit)

    def _possible_receivers(self) -> set[str]:
        ends = {t.link.partition(":")[2 if t.direction is Direction.UP else 0] for t in self._toxics.values()}
        return ends & self._members.keys()

    def _next_frame(self, name: str) -> int:
        try:
            return self._cluster.control(name).frames(1 << 62).next
        except ControlError:
            return 0

    def _member(self, name: str) -> str:
        return self._members.get(name, name)

    # -- who noticed ---------------------------------------------------------------------------------------

    def detections(self, answers: Iterable[Answer] = ()) -> tuple[Detection, ...]:
        """Everybody who named one of the flipped messages or requests, in order of time; `at_s` is monotonic."""
        return tuple(sorted(self._detections(answers), key=lambda d: d.at_s or 0.0))

    def noticed_after(self, by: str | None = None) -> tuple[float | None, ...]:
        """For each receipt, seconds from sent to its first detection (by the defence `by`); None: nobody noticed."""
        found = [d for d in self.detections() if by in (None, d.by)]
        return tuple(_first(found, self._key(receipt), receipt.sent) for receipt in self.receipts)

    def _detections(self, answers: Iterable[Answer]) -> Iterator[Detection]:
        keys = {self._key(receipt) for receipt in self.receipts}
        for line in self._cluster.observers.seen(since=self._mark):
            if (key := _noticed(line)) is not None and key in keys:
                by = "parse" if line.kind == "parse-error" else str(line.fields["defence"])
                yield Detection(by=by, service=line.source, at_s=line.t, detail=key)
        for answer in answers:
            if answer.identity in keys and answer.reply.noticed_by:
                yield Detection(by=answer.reply.noticed_by, service="client", detail=answer.identity)

    # -- who believed it -----------------------------------------------------------------------------------

    def look(self) -> tuple[Wrong, ...]:
        """Values that are wrong in some view now; remembered."""
        views = self._cluster.views()
        known = {name: view.entries for name, view in views.items() if not isinstance(view, ControlError)}
        now = wrong_values(known, self._cluster.originated())
        self.wrong.update(now)
        return now

    def reached(self) -> tuple[str, ...]:
        """Members that never received a flipped message and held a wrong value all the same."""
        hit = self.receivers()
        return tuple(sorted({self._member(w.holder) for w in self.wrong if w.holder not in hit}))

    def adopted(self) -> bool:
        """A receiver held a wrong value."""
        return any(w.holder in self.receivers() for w in self.wrong)

    def example(self) -> str:
        """One wrong value, in words; empty when there was none. Somebody who was told by a peer comes first."""
        for wrong in sorted(self.wrong, key=lambda w: (w.holder in self.receivers(), w)):
            what = f"{wrong.owner}.{wrong.field} = {wrong.value}"
            return f"{wrong.holder} believes {what}, which {wrong.owner} never said"
        return ""

    def crashed(self) -> tuple[str, ...]:
        """Services whose process ended by itself."""
        return tuple(e.service for e in self._ended() if not e.host)

    def host_troubles(self) -> tuple[str, ...]:
        """What the host did to services, a line each: a trial beside it proves nothing."""
        return tuple(f"{e.service}: {e.host}" for e in self._ended() if e.host)

    def _ended(self) -> tuple[Exit, ...]:
        return self._cluster.exits()[self._exits :]

    def hung(self) -> tuple[str, ...]:
        """Services that run and do not answer on their control ports."""
        health = self._cluster.each(lambda control: control.healthz())
        return tuple(sorted(name for name, seen in health.items() if isinstance(seen, NodeSilentError)))


def _receiver(receipt: Receipt) -> str:
    caller, _, callee = receipt.proxy.partition(":")
    return callee if receipt.direction == Direction.UP else caller


def _first(detections: Iterable[Detection], key: str, sent: float | None) -> float | None:
    """Seconds from `sent` to the first of those that name this."""
    times = [d.at_s for d in detections if d.detail == key and d.at_s is not None]
    return min(times) - sent if times and sent is not None else None


def _identity(line: Observation) -> str:
    return f"{line.fields.get('method')} {line.fields.get('target')}"


def _noticed(line: Observation) -> str | None:
    """What a line of a log says was noticed: a frame's checksum or a request; None for any other line."""
    if line.kind not in {"refused", "parse-error"}:
        return None
    return f"crc {line.fields['crc']:08x}" if "crc" in line.fields else _identity(line)
