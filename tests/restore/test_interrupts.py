"""What a signal means while a restore runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from restorehooks.restore import interrupts
from restorehooks.restore.interrupts import (
    Handler,
    interruptible,
    raise_if_interrupted,
    uninterrupted,
)

me = os.getpid


def test_sigterm_means_what_ctrl_c_means_and_only_inside() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def told_to_end() -> None:
        with interruptible():
            os.kill(me(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        told_to_end()
    assert signal.getsignal(signal.SIGTERM) is before


def test_it_is_put_off_noted_and_passed_over_once_all_is_done() -> None:
    with interruptible():
        with uninterrupted() as signals:
            os.kill(me(), signal.SIGINT)
            assert signals.came
        with uninterrupted() as signals:
            assert not signals.came
            signals.over = True
        os.kill(me(), signal.SIGHUP)  # nothing is left to interrupt


def test_one_that_comes_while_another_one_is_handled_stops_nothing() -> None:
    program = [sys.executable, "-c", WHILE_HANDLED]
    done = subprocess.run(program, timeout=30, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


WHILE_HANDLED = """
import os, signal, sys
from restorehooks.restore.interrupts import interruptible, uninterrupted

def profile(frame, event, argument):
    name = frame.f_code.co_name
    if (event, name) in (("call", "notify_all"), ("return", "__call__")):
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)

with interruptible(for_good=True), uninterrupted() as signals:
    sys.setprofile(profile)
    os.kill(os.getpid(), signal.SIGINT)
    print(bool(signals.came))
"""


def test_one_that_comes_while_a_block_begins_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(Handler):
        def __setattr__(self, name: str, value: bool) -> None:
            if (name, value) == ("came", False) and interrupts._handler is self:
                os.kill(me(), signal.SIGINT)
            super().__setattr__(name, value)

    monkeypatch.setattr(interrupts, "Handler", Interrupted)

    def restored() -> None:
        with interruptible():
            with uninterrupted() as signals:
                pass
            if signals.came:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restored()


def test_a_block_inside_of_another_one_forgets_none() -> None:
    with interruptible(), uninterrupted() as signals:
        os.kill(me(), signal.SIGINT)
        with uninterrupted():
            pass
        assert signals.came


def test_one_that_python_passes_over_still_prevents_what_must_not_happen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed_over: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", passed_over.append)

    class Finalized:
        def __del__(self) -> None:
            os.kill(me(), signal.SIGTERM)

    with interruptible():
        raise_if_interrupted()
        Finalized()
        assert passed_over
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted()
