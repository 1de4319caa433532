"""How the message of a campaign is recorded: the stepped script up to the flip, played once in the simulator."""

from __future__ import annotations

import google_crc32c

from straybit.campaign.space import Recorded, recorded
from straybit.campaign.spec import Aimed, Setup
from straybit.campaign.stage import Recorder
from straybit.campaign.stepped import rehearse
from straybit.faults import check_link
from straybit_faults.flip import Link
from straybit_faults.wire import Message
from straybit_faults.wires import find_wire
from straybit_nodes.topology import Topology

__all__ = ["NeverCameError", "record_message"]


class NeverCameError(ValueError):
    """No such message passes where a flip would be armed; says what does."""


def record_message(aimed: Aimed, setup: Setup, stage: Recorder) -> Recorded:
    """The message that a flip of `aimed` would hit.

    Raises NeverCameError, FlipIdError for a link that is not there, StageError.
    """
    link = Link.parse(aimed.link)
    check_link(link, Topology.gossip_only(setup.nodes))
    rehearse(stage, link.caller, link.callee)
    stage.arm(())
    stage.exchange(link.caller, link.callee)
    came = [heard for heard in stage.heard() if heard.link == aimed.link and heard.direction is aimed.direction]
    for heard in came:
        if (heard.kind, heard.ordinal) == (aimed.kind, aimed.ordinal):
            return recorded(aimed, _read(heard.frame), heard.frame, f"{google_crc32c.value(heard.frame):08x}")
    there = ", ".join(f"{heard.kind}/{heard.ordinal}" for heard in came) or "nothing"
    raise NeverCameError(f"message {aimed} never came; what came on that link, in that direction: {there}")


def _read(frame: bytes) -> Message:
    (event,) = find_wire("gossip").open().up.feed(frame)
    if not isinstance(event, Message):
        raise NeverCameError("the wire cannot read the message that was recorded")
    return event
