"""Ctrl-C, SIGTERM and SIGHUP: one meaning, and deferred where half-way would be worse."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


class Handler:
    """What a signal does: it interrupts, or is only noted (``came``) while signals are deferred.

    ``over`` is set once what was asked for is done: nothing is interrupted from then on, except in
    a block of :meth:`heard`.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.over = False
        self.interrupted = False
        # No Event: a signal that comes while another one sets it would wait for its lock for ever.
        self.came = False

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal, as signal.signal calls it."""
        self.came = True
        if not (self.deferred or self.over):
            self.interrupted = True
            raise KeyboardInterrupt

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Let signals interrupt the block, one that has come already too, and nothing after it."""
        self.deferred = self.over = False
        try:
            if self.came:
                raise KeyboardInterrupt
            yield
        finally:
            self.over = True


_handler: Handler | None = None


@contextmanager
def interruptible(*, for_good: bool = False) -> Iterator[None]:
    """Let each of the signals raise KeyboardInterrupt; inside another such block, do nothing more.

    ``for_good`` is for a process that is about to end: a signal after the block is ignored, since
    what is printed has been decided.
    """
    global _handler
    if _handler is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _handler = handler = Handler()
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_IGN if for_good else old)
        _handler = None


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt again if one was raised where Python can only ignore it.

    In a finalizer or a callback from C an exception ends nothing; what must not happen after an
    interrupt asks here first.
    """
    if _handler is not None and _handler.interrupted:
        raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[Handler]:
    """Defer signals while the block runs; one that came in an outer block is still known there."""
    handler = _handler or Handler()
    before = handler.deferred
    if not before:
        handler.came = False  # a signal between these two lines interrupts, and none is forgotten
    handler.deferred = True
    try:
        yield handler
    finally:
        handler.deferred = before
