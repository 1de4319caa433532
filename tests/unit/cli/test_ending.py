"""A command line that is told to end: an orderly end, the exit code that says so, and what is left of it."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest

from straybit.backends import BackendError
from straybit.cli import main

GONE = "everything it started has been taken down"


@pytest.fixture
def play(monkeypatch, capsys):
    """Has the command line carry out a function; answers with exit code and standard error.

    Signals have their usual effect, also under nohup.
    """
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}

    def play(work):
        monkeypatch.setitem(sys.modules, "straybit.cli.doctor", SimpleNamespace(command=click.command()(work)))
        monkeypatch.setattr(sys, "argv", ["straybit", "doctor"])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err.strip()

    yield play
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code", "how"),
    [
        (signal.SIGINT, 2, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_whoever_is_told_to_end_cleans_up_and_says_so(play, number, code, how):
    """By Ctrl-C, by `timeout` or a job that is cancelled, by a terminal that is closed."""
    cleaned = []

    def work():
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(True)

    assert play(work) == (code, f"straybit: {how}; {GONE}")
    assert cleaned == [True]


def test_being_told_twice_at_once_is_one_wish(play):
    """`timeout` tells its command and then the group that it is in; the second does not break into the cleaning."""
    cleaned = []

    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    assert play(work)[0] == 143
    assert cleaned == [True]


def test_the_usual_handlers_are_back_and_an_ignored_signal_stays_so(play):
    """Whoever was started by `nohup` outlives its terminal."""
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert play(lambda: signal.raise_signal(signal.SIGHUP)) == (0, "")
    finally:
        signal.signal(signal.SIGHUP, usual)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def fails_to_clean_up(text, left="", *, number=signal.SIGINT, again=False):
    """A command that is told to end, whose cleaning up fails; and that is told again then."""

    def work():
        try:
            try:
                signal.raise_signal(number)
            finally:
                error = BackendError(text)
                error.left = left
                raise error
        finally:
            if again:
                signal.raise_signal(signal.SIGINT)

    return work


@pytest.mark.parametrize("again", [False, True])
def test_what_could_not_be_taken_down_is_told_with_what_removes_it(play, again):
    """Whichever of error and interrupt came last."""
    code, said = play(fails_to_clean_up("the engine is gone", "containers of the run straybit-1", again=again))
    assert code == 2
    assert said == (
        "straybit: interrupted, and taking down failed: the engine is gone; containers of the run straybit-1 "
        "may be left: `straybit sweep` removes containers, and processes end by themselves"
    )


def test_an_error_that_says_itself_what_to_do_is_enough(play):
    """Nobody is told twice; the exit code is the signal's."""
    text = "down failed; what is left carries the label straybit.run=x: `straybit sweep` removes it"
    code, said = play(fails_to_clean_up(text, number=signal.SIGTERM))
    assert (code, said) == (143, f"straybit: ended by SIGTERM, and taking down failed: {text}")


def test_an_error_before_the_interrupt_does_not_count(play):
    """Somebody was waiting for what did not answer yet; all of it was taken down."""

    def work():
        try:
            ask()
        except BackendError:
            signal.raise_signal(signal.SIGINT)

    def ask():
        raise BackendError("gossip-1 was not ready")

    assert play(work) == (2, f"straybit: interrupted; {GONE}")


def test_a_command_that_has_its_own_words_ends_with_the_signals_code(play):
    """As `straybit restore`, which says how far it came."""

    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise click.ClickException("interrupted after nothing") from None

    assert play(work) == (143, "Error: interrupted after nothing")


def test_a_signal_is_not_forgotten_where_an_error_has_nothing_behind_it(play):
    """As one that has come through an ExitStack."""

    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            error = BackendError("down failed: `straybit sweep` removes it")
        raise error

    assert play(work) == (
        143,
        "straybit: ended by SIGTERM, and taking down failed: down failed: `straybit sweep` removes it",
    )


WAITS = """
import signal, sys, types, click
from straybit.cli import main

@click.command()
def wait():
    try:
        print("waits", flush=True)
        signal.pause()
    finally:
        print("cleaned up", flush=True)

sys.modules["straybit.cli.doctor"] = types.SimpleNamespace(command=wait)
sys.argv = ["straybit", "doctor"]
main()
"""


def test_a_process_that_is_told_to_end_ends_so():
    """As others see it."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "waits\n"
        process.terminate()
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors.strip()) == (143, "cleaned up\n", f"straybit: ended by SIGTERM; {GONE}")


FALLS = """
import os, signal
from straybit import cli

cli.cli.main = lambda **_: os.kill(os.getpid(), signal.SIGSEGV)
cli.main()
"""


def test_a_library_that_takes_the_process_down_is_named_by_where_it_did():
    """A segmentation fault leaves a trace of the line that it came from, and its own exit code."""
    done = subprocess.run([sys.executable, "-c", FALLS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr
    assert 'File "<string>", line 5' in done.stderr
