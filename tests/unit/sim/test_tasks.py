"""Tasks on virtual time: one runs, the others wait, and the net decides who is next."""

import pytest

from straybit.sim.net import SimNet
from straybit.sim.tasks import DeadlockError, Tasks
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology


@pytest.fixture
def net():
    """A net in which nothing happens by itself."""
    return SimNet(Topology.gossip_only(2), rules=Rules(), ticks=False)


def test_tasks_take_turns_in_the_order_of_their_times(net):
    """Each task runs when its pause is over, whoever was begun first."""
    tasks, seen = Tasks(net), []

    def wait(name, seconds):
        tasks.pause(seconds)
        seen.append((name, net.now))

    tasks.together([lambda: wait("slow", 2.0), lambda: wait("quick", 1.0)])
    assert seen == [("quick", 1.0), ("slow", 2.0)]


def test_at_once_bounds_how_many_run(net):
    """Of five calls two at a time never more than two are under way, and answers keep their order."""
    tasks, running, most = Tasks(net), [], []

    def work(number):
        running.append(number)
        most.append(len(running))
        tasks.pause(1.0)
        running.remove(number)
        return number

    assert tasks.together([lambda n=n: work(n) for n in range(5)], at_once=2) == (0, 1, 2, 3, 4)
    assert max(most) == 2
    assert net.now == 3.0


def test_the_first_error_is_raised_when_all_have_ended(net):
    """Errors do not end the others; the first call's is the one that is raised."""
    tasks, ended = Tasks(net), []

    def fail(kind, seconds):
        tasks.pause(seconds)
        ended.append(kind)
        raise kind(f"after {seconds} s")

    with pytest.raises(KeyError):
        tasks.together([lambda: fail(KeyError, 2.0), lambda: fail(IndexError, 1.0)])
    assert ended == [IndexError, KeyError]


def test_a_wait_that_nothing_can_end_is_an_error_and_no_hang(net):
    """Where nothing is left to happen the wait is a deadlock, said at once; the next wait works again."""
    tasks = Tasks(net)
    with pytest.raises(DeadlockError, match="nothing is left to happen"):
        tasks.wait_for(lambda _: None)
    tasks.pause(1.0)
    assert net.now == 1.0


def test_an_answer_given_at_once_needs_no_event(net):
    """A callback that is called while it is handed over answers, and only its first answer counts."""

    def begin(answered):
        answered("first")
        answered("second")

    assert Tasks(net).wait_for(begin) == "first"


def test_no_calls_take_no_time(net):
    """Nothing to do is done."""
    assert Tasks(net).together([]) == ()
    assert net.now == 0.0
