"""What a signal means while a restore runs."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from restorehooks.restore import interrupts
from restorehooks.restore.interrupts import interruptible, raise_if_interrupted, uninterrupted

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
            assert signals.came.is_set()
        with uninterrupted() as signals:
            assert not signals.came.is_set()
            signals.over = True
        os.kill(me(), signal.SIGHUP)  # nothing is left to interrupt


def test_one_that_comes_while_a_block_begins_is_not_forgotten() -> None:
    class Interrupted(threading.Event):
        def clear(self) -> None:
            os.kill(me(), signal.SIGINT)
            super().clear()

    def restored() -> None:
        with interruptible():
            assert interrupts._handler
            interrupts._handler.came = Interrupted()
            with uninterrupted() as signals:
                pass
            if signals.came.is_set():
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restored()


def test_a_block_inside_of_another_one_forgets_none() -> None:
    with interruptible(), uninterrupted() as signals:
        os.kill(me(), signal.SIGINT)
        with uninterrupted():
            pass
        assert signals.came.is_set()


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
