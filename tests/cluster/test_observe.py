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


def test_pollers_run_only_when_asked(gossip):
    """Metrics and views are polled when asked, and no longer when told to stop."""
    observers = gossip.observers
    mark = observers.mark()
    observers.poll_metrics(0.02)
    observers.poll_views(0.02)
    assert observers.wait_for(lambda o: o.kind == "metrics", 5, since=mark)
    view = observers.wait_for(lambda o: o.kind == "view", 5, since=mark)
    assert set(view.fields["view"].entries) == {"gossip-1", "gossip-2", "gossip-3"}
    observers.stop_polling()
    mark = observers.mark()
    assert observers.wait_for(lambda o: o.kind == "metrics", 0.1, since=mark) is None
