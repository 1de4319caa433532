"""Work side by side, and Ctrl-C at the worst moment."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from straybit.crew import Crew, HeldBack


def test_answers_come_in_order_and_several_are_under_way_at_a_time():
    """Four that wait for each other all come back."""
    meet = threading.Barrier(4, timeout=30)
    with Crew(4, "crew") as crew:
        assert crew.each(lambda n: (meet.wait(), n)[1], [3, 1, 2, 0]) == [3, 1, 2, 0]
        assert crew.each(str, []) == []


def test_the_first_error_is_raised_once_all_have_ended():
    """In the items' order, and not in the order of time."""
    last, done = threading.Event(), []

    def work(n):
        if n == 0:
            last.wait(30)
        last.set()
        done.append(n)
        raise ValueError(n)

    with Crew(2, "crew") as crew:
        with pytest.raises(ValueError, match="0"):
            crew.each(work, range(2))
    assert sorted(done) == [0, 1]


def test_an_interrupt_while_work_is_handed_out_comes_after_that(monkeypatch):
    """Where it would leave a pool's lock taken; all the work is still done, and closing does not hang."""
    submit, done = ThreadPoolExecutor.submit, threading.Semaphore(0)

    def interrupted(self, *args):
        if args[1] == 1:
            signal.raise_signal(signal.SIGINT)
        return submit(self, *args)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    crew = Crew(2, "crew")
    with pytest.raises(KeyboardInterrupt):
        crew.each(lambda _: done.release(), range(3))
    assert all(done.acquire(timeout=30) for _ in range(3))
    crew.close()


def test_an_interrupt_while_waiting_comes_at_once():
    """Before what is under way has ended."""
    go = threading.Event()

    def work(_):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        go.wait(30)

    crew = Crew(1, "crew")
    with pytest.raises(KeyboardInterrupt):
        crew.each(work, [0])
    assert not go.is_set()
    go.set()
    crew.close()


def test_the_usual_handler_is_back_and_other_threads_change_none():
    """Handlers belong to the main thread."""
    usual = signal.getsignal(signal.SIGINT)
    seen = []

    def look():
        with HeldBack():
            seen.append(signal.getsignal(signal.SIGINT))

    with HeldBack():
        assert signal.getsignal(signal.SIGINT) is not usual
    aside = threading.Thread(target=look)
    aside.start()
    aside.join()
    assert seen == [usual]
    assert signal.getsignal(signal.SIGINT) is usual
