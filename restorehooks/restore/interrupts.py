"""Ctrl-C, SIGTERM and SIGHUP: one meaning, and put off where half-way would be worse."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def ended_politely() -> Iterator[None]:
    """Let SIGTERM and SIGHUP mean what Ctrl-C means."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with _handling(interrupt):
        yield


@contextmanager
def undisturbed() -> Iterator[threading.Event]:
    """Put signals off while the block runs; what it yields says whether there was one."""
    disturbed = threading.Event()
    with _handling(lambda number, frame: disturbed.set()):
        yield disturbed


@contextmanager
def _handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    if not _in_main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
