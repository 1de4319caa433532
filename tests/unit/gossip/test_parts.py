"""The parts of a gossip member: merge rule, view, places, timers, bounds, alarm, damping."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit_nodes.gossip.alarm import WINDOW, FailureAlarm
from straybit_nodes.gossip.bounds import ALLOWANCE_S, Bounds
from straybit_nodes.gossip.damping import PERIOD_S, Damping
from straybit_nodes.gossip.merge import LIFE, MERGE, ORDER, after, wins
from straybit_nodes.gossip.messages import LEFT, Entry, Row
from straybit_nodes.gossip.places import Job, Places, Work
from straybit_nodes.gossip.timers import Due, Timers
from straybit_nodes.gossip.view import View
from straybit_nodes.topology import GENERATION

ENTRIES = st.builds(
    Entry,
    st.just("gossip-1"),
    *(st.integers(0, 2) for _ in range(5)),
)


def entry(owner="gossip-1", *, address=1, status=1, load=0, generation=GENERATION, version=1):
    return Entry(owner, address, status, load, generation, version)


# Merge


@pytest.mark.parametrize("field", ORDER)
def test_the_first_difference_decides_and_the_larger_wins(field):
    """A larger value of a field wins over any loss in the fields after it in the order."""
    later = dict.fromkeys(ORDER[ORDER.index(field) + 1 :], 9)
    new = entry(**{field: getattr(entry(), field) + 1, **dict.fromkeys(later, 0)})
    old = entry(**{name: value for name, value in later.items() if name not in {"generation"}})
    assert wins(new, old)
    assert not wins(old, new)


@pytest.mark.parametrize("rule", MERGE, ids=lambda rule: f"{rule.generation}-{rule.version}-{rule.rest}")
def test_each_rule_of_the_table_decides(rule):
    """Entries as a row of the table compares them end as it says."""
    values = {"higher": 2, "same": 1, "lower": 0, "any": 7}
    theirs = entry(
        generation=values[rule.generation], version=values[rule.version], address=values[rule.rest], status=1, load=0
    )
    assert wins(theirs, entry(generation=1, version=1, address=1)) == rule.theirs


@given(ENTRIES, ENTRIES)
def test_the_rules_are_an_order(one, two):
    """For any two entries exactly one wins, or they are the same."""
    assert wins(one, two) + wins(two, one) == (one != two)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("start", (100, 0)),
        ("restart", (107, 0)),
        ("heartbeat", (103, 10)),
        ("status", (103, 10)),
        ("leave", (103, 10)),
        ("return", (100, 0)),
        ("clear", (100, 0)),
    ],
)
def test_what_an_owner_says_after_each_event(event, said):
    """Of a generation configured as 100, kept as 107, and an entry held at (103, 9)."""
    held = entry(generation=103, version=9)
    assert after(event, configured=100, kept=107, held=held) == said
    assert event in LIFE


def test_versions_end_at_their_largest():
    """A version that cannot rise stays; a kept generation lower than the configured one is not taken."""
    assert after("heartbeat", configured=1, held=entry(generation=1, version=(1 << 64) - 1)) == (1, (1 << 64) - 1)
    assert after("restart", configured=5, kept=3) == (5, 0)


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_every_order_of_arrival_ends_the_same(entries):
    """Whatever comes first, everybody ends with the same entry."""
    ends = set()
    for order in permutations(entries):
        view = View()
        for each in order:
            if view.better(each):
                view.put(each)
        ends.add((view.rows(), view.summary))
    assert len(ends) == 1


# View


def test_a_view_says_what_changed_since():
    """The latest first; nothing after its own mark; None for a mark of another memory, or one that never was."""
    view = View(3)
    marks = []
    for each in (entry("a"), entry("b"), entry("a", version=2)):
        view.put(each)
        marks.append(view.mark)
    assert [each.owner for each in view.since(marks[0])] == ["a", "b"]
    assert view.since(marks[2]) == []
    assert [view.since(mark) for mark in (0, marks[2] + 1, View(4).mark)] == [None] * 3
    view.clear()
    assert view.since(marks[0]) is None
    assert View(1).mark == view.mark
    assert view.summary == View().summary == 0


def test_the_tombstone_of_a_stranger_is_not_taken():
    """Who never heard of a member need not learn that it left; of a known one it is taken, and off the summary."""
    view = View()
    assert not view.better(entry("a", status=LEFT))
    view.put(entry("a"))
    assert view.better(entry("a", status=LEFT, version=2))
    view.put(entry("a", status=LEFT, version=2))
    assert view.summary == 0
    view.drop("a")
    assert view.entries == {}


def test_a_view_is_bounded():
    """Entries of owners beyond the limit are not taken; known owners still are."""
    view = View()
    for number in range(View.LIMIT):
        view.entries[str(number)] = entry(str(number))
    assert not view.better(entry("one more"))
    assert view.better(entry("7", version=2))


# Places


def job(number, work=Work.GOSSIP):
    return Job(number, work, "gossip-2")


def test_slots_then_queue_then_no():
    """Slots fill first, then the queue, at the limit nothing more enters, and whoever waited longest is next."""
    places = Places(2, 2)
    jobs = [job(number) for number in range(5)]
    assert [places.enter(each, 0.0) for each in jobs] == [True, True, True, True, False]
    assert (list(places.busy), list(places.waiting)) == ([0, 1], [2, 3])
    assert places.leave(jobs[1], 1.0) is jobs[2]
    assert places.leave(jobs[3], 1.0) is None
    assert places.leave(jobs[0], 2.0) is None
    assert (list(places.busy), list(places.waiting)) == ([2], [])
    assert places.leave(jobs[0], 3.0) is None


def test_an_operators_job_does_not_wait():
    """What a control command asks for starts at once beyond the slots, and its end starts nobody beyond them."""
    places = Places(1, 1)
    one, two, commanded = job(1), job(2), Job(3, Work.GOSSIP, "gossip-2", done=1)
    assert all(places.enter(each, 0.0) for each in (one, two, commanded))
    assert (list(places.busy), list(places.waiting)) == ([1, 3], [2])
    assert places.leave(commanded, 1.0) is None
    assert places.leave(one, 1.0) is two


def test_without_a_bound_nobody_waits():
    """`slots` None gives everybody a slot."""
    places = Places(None, 0)
    assert all(places.enter(job(number), 0.0) for number in range(1000))
    assert len(places.busy) == 1000


def test_slot_time_is_counted_by_work():
    """Time in slots counts for the work that held them, waiting does not, and work under way counts so far."""
    places = Places(1, 1)
    tell, request = job(1, Work.TELL), job(2, Work.REQUEST)
    places.enter(tell, 0.0)
    places.enter(request, 0.0)
    places.leave(tell, 2.0)
    assert places.spent(5.0) == {Work.GOSSIP: 0, Work.TELL: 2, Work.VERIFY: 0, Work.REQUEST: 3}
    assert places.clear(6.0) == [request]
    assert places.spent(9.0)[Work.REQUEST] == 4


# Timers


def test_timers_fire_in_order_and_only_what_matters():
    """The earliest first, equal ones as added, outdated ones never, not even as a time to wake."""
    dead = set()
    timers = Timers(lambda _, number: number not in dead)
    for at, number in ((3.0, 3), (1.0, 1), (2.0, 2), (2.0, 20)):
        timers.add(at, Due.VERIFY, number)
    dead.add(1)
    assert timers.next == 2.0
    assert timers.pop(1.9) is None
    assert [timers.pop(2.0), timers.pop(2.0), timers.pop(2.0)] == [(Due.VERIFY, 2), (Due.VERIFY, 20), None]
    timers.clear()
    assert timers.next is None


# Bounds

YEAR_S = 365.25 * 86_400


@pytest.mark.parametrize(
    ("age_s", "value", "possible"),
    [
        (0, entry(version=0), True),
        (0, entry(version=172_800), True),
        (0, entry(version=172_801), False),
        (0, entry(version=1 << 62), False),
        (0, entry(version=1 << 18), False),
        (0, entry(generation=GENERATION + int(ALLOWANCE_S), version=0), True),
        (0, entry(generation=GENERATION + int(ALLOWANCE_S) + 1, version=0), False),
        (0, entry(generation=GENERATION ^ 1 << 40, version=0), False),
        (0, entry(generation=GENERATION - int(YEAR_S), version=int(2 * YEAR_S)), True),
        (0, entry(generation=0, version=0), True),
        (YEAR_S, entry(version=int(2 * YEAR_S)), True),
        (YEAR_S, entry(generation=GENERATION + int(YEAR_S), version=100), True),
        (20 * YEAR_S, entry(generation=GENERATION + int(20 * YEAR_S), version=100), True),
    ],
)
def test_bounds_at_their_limits(age_s, value, possible):
    """A generation up to a day ahead and the heartbeats that fit are possible; one more is not."""
    bounds = Bounds(GENERATION, age_s, 100.0, 0.5)
    assert (not list(bounds.sift([value], 100.0))) == possible
    assert (not list(bounds.sift([value.row], 100.0))) == possible


@given(
    uptime_s=st.floats(0, 10 * YEAR_S),
    age_s=st.floats(0, 10 * YEAR_S),
    born_s=st.floats(0, 10 * YEAR_S),
    apart_s=st.floats(-ALLOWANCE_S / 2, ALLOWANCE_S / 2),
    interval_s=st.sampled_from([0.1, 0.5, 2.0]),
)
def test_no_honest_entry_is_ever_refused(uptime_s, age_s, born_s, apart_s, interval_s):
    """After years of uptime, after any partition and from members first started up to half a day apart.

    An honest owner was born when its generation says, give or take `apart_s`,
    and has beaten at most once an interval since then, however little of that this member has seen.
    """
    mine = GENERATION
    bounds = Bounds(mine, age_s, 50.0, interval_s)
    now = 50.0 + uptime_s
    calendar_s = age_s + uptime_s
    born_s = min(born_s, calendar_s)
    honest = Entry("x", 1, 1, 0, mine + int(born_s), int((calendar_s - born_s + abs(apart_s)) / interval_s))
    assert not list(bounds.sift([honest], now))


@pytest.mark.parametrize("age_s", [-5 * YEAR_S, 0.0, 5 * YEAR_S])
def test_a_clock_that_jumped_refuses_nobody(age_s):
    """A wall clock set back counts as no time at all, one set forward only loosens the bound."""
    bounds = Bounds(GENERATION, age_s, 1000.0, 0.5)
    assert not list(bounds.sift([entry(version=2 * 3600)], 1000.0 + 3600))


def refused(bounds, *values):
    return [value.owner for value, _ in bounds.sift(values, 100.0)]


def test_a_majority_is_believed_about_the_calendar_and_nobody_alone():
    """On a new disk after a year: one old entry, or two, is impossible; three of five members cannot all be wrong."""
    bounds = Bounds(GENERATION, 0.0, 100.0, 0.5, members=5)
    old = [entry(name, version=int(2 * YEAR_S * share)) for name, share in (("a", 0.9), ("b", 0.95), ("c", 1.0))]
    flipped = entry("d", version=1 << 62)
    assert refused(bounds, old[0], old[1]) == ["a", "b"]
    assert refused(bounds, *old, flipped) == ["d"]
    assert refused(bounds, *old) == []
    assert refused(bounds, flipped) == ["d"]


def test_a_claim_that_was_refused_is_taken_back():
    """Flips in entries of one owner after the other are no majority: each said something possible in between."""
    bounds = Bounds(GENERATION, 0.0, 100.0, 0.5, members=3)
    for name in ("a", "b", "c", "a"):
        assert refused(bounds, entry(name, version=1 << 40)) == [name]
        assert refused(bounds, entry(name)) == []


# Alarm


def feed(alarm, outcomes, peer="gossip-2"):
    return [found for ok in outcomes if (found := alarm.record(peer, ok=ok)) is not None]


def test_the_alarm_fires_at_a_fifth_of_the_window_and_once_per_episode():
    """Three failures in twenty are silent, the fourth fires, more are the same episode, a quiet time ends it."""
    alarm = FailureAlarm()
    assert feed(alarm, [True] * WINDOW + [False] * 3) == []
    (found,) = feed(alarm, [False] * 5)
    assert (found.culprit, found.failed, found.window) == ("gossip-2", 4, WINDOW)
    assert feed(alarm, [True, False] * 10) == []
    assert feed(alarm, [True] * WINDOW) == []
    assert len(feed(alarm, [False] * 4)) == 1


def test_the_alarm_names_who_fails_most():
    """Among several failing peers the one with most failures is the culprit."""
    alarm = FailureAlarm()
    for peer in ("a", "b"):
        feed(alarm, [True] * 10, peer)
    found = [*feed(alarm, [False], "a"), *feed(alarm, [False] * 3, "b")]
    assert [each.culprit for each in found] == ["b"]


def test_a_peer_that_never_was_reached_is_not_counted():
    """Members that start one after another raise no alarm."""
    assert feed(FailureAlarm(), [False] * 100) == []


# Damping


def test_talk_about_one_failed_member_rests_between():
    """One of a kind per member and period; other kinds and other members are not held back."""
    damping = Damping()
    assert damping.allows("tell", "a", 10.0)
    assert not damping.allows("tell", "a", 10.0 + 0.99 * PERIOD_S)
    assert damping.allows("tell", "b", 10.0)
    assert damping.allows("verify", "a", 10.0)
    assert damping.allows("tell", "a", 10.0 + PERIOD_S)


def test_a_row_says_whether_any_field_differs():
    """The hash in a digest row differs as soon as any field does."""
    base = entry()
    others = [entry(**{name: getattr(base, name) + 1}) for name in ORDER] + [entry("gossip-2")]
    assert isinstance(base.row, Row)
    assert len({each.row.hash for each in [base, *others]}) == 1 + len(others)
