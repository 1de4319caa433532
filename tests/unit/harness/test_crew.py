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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_tells_a_run_to_end_is_held_back_until_the_exit(number):
    """Where somebody handles it; and it is heard once."""
    heard, held = [], []
    usual = signal.signal(number, lambda number, _: heard.append(number))
    try:
        with HeldBack():
            signal.raise_signal(number)
            signal.raise_signal(number)
            held = [*heard]
    finally:
        signal.signal(number, usual)
    assert (held, heard) == ([], [number])


def test_one_that_raises_at_the_exit_keeps_no_other_from_being_heard():
    """Ctrl-C and then SIGTERM, as when a job is cancelled; both handlers are the usual ones again."""
    heard = []
    usual = signal.signal(signal.SIGTERM, lambda *_: heard.append(signal.getsignal(signal.SIGINT)))
    ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            hold(signal.SIGINT, signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is not usual
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert heard == [ctrl_c]
    assert signal.getsignal(signal.SIGINT) is ctrl_c


def hold(*numbers, error=None):
    with HeldBack():
        for number in numbers:
            signal.raise_signal(number)
        if error:
            raise error


def test_an_error_stands_behind_the_interrupt_that_was_held_back():
    """What went wrong in taking something down is not forgotten."""
    error = ValueError("it would not go")
    with pytest.raises(KeyboardInterrupt) as caught:
        hold(signal.SIGINT, error=error)
    assert caught.value.__context__ is error


def test_what_the_kernel_answers_is_left_to_it():
    """A process that SIGTERM ends is ended by it, held back or not."""
    with HeldBack():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
