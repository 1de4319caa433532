"""What observers see of a live cluster, on the clock that the test itself reads."""

import time

from straybit.observe import felt, wait_felt


def test_log_lines_come_with_the_time_they_were_written(gossip):
    """A node's own line arrives with a time between the command and its arrival."""
    mark = gossip.observers.mark()
    before = time.monotonic()
    gossip.control("gossip-1").stop()
    seen = gossip.observers.wait_for(lambda o: (o.source, o.kind) == ("gossip-1", "state"), 5, since=mark)
    gossip.control("gossip-1").resume()
    assert before <= seen.t <= time.monotonic()
    assert seen.fields["state"] == "stopped"


def test_received_frame_is_felt(gossip):
    """Each frame that a node received can be found again by its checksum."""
    gossip.control("gossip-1").exchange("gossip-2")
    control = gossip.control("gossip-2")
    frame = control.frames().frames[-1]
    assert wait_felt(control, frame.crc, frame.seq, timeout_s=2) == frame
    assert felt(control, frame.crc ^ 1, frame.seq) is None
