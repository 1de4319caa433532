"""A host that stands still is noticed."""

from straybit.observe.host import STALL, TICK_S, HostWatch

STALL_S = STALL * 0.5


class Time:
    """A clock that moves only while somebody sleeps, and then by what the next of `naps` says."""

    def __init__(self, *naps):
        self.now = 100.0
        self.naps = list(naps)

    def sleep(self, seconds):
        """Whether to stop: when no nap is left."""
        if not self.naps:
            return True
        self.now += max(seconds, self.naps.pop(0))
        return False


def watch(*naps):
    """A watch that has seen those naps."""
    time = Time(*naps)
    with HostWatch(STALL_S, sleep=time.sleep, clock=lambda: time.now) as host:
        pass
    return host


def test_who_wakes_on_time_saw_nothing():
    """A tick that lasts a tick is no stall."""
    host = watch(TICK_S, TICK_S)
    assert (round(host.late_s, 9), host.stalled) == (0.0, False)


def test_a_stall_is_as_long_as_the_longest_oversleeping():
    """One tick of a second among good ones: late by a second less the tick."""
    host = watch(TICK_S, 1.0, TICK_S)
    assert abs(host.late_s - (1.0 - TICK_S)) < 1e-9
    assert host.stalled


def test_what_no_time_out_can_mind_is_no_stall():
    """Up to the limit a verdict stands."""
    assert not watch(TICK_S + STALL_S * 0.9).stalled


def test_on_the_real_clock_it_ends_when_told():
    """It watches until it is left, and was never a minute late."""
    with HostWatch(STALL_S) as host:
        pass
    assert host.late_s < 60
