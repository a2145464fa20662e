"""Requests to stop, heard at once and obeyed at the end of an iteration."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any


class Stop:
    """Notes SIGTERM and Ctrl-C for as long as a block lasts; a second Ctrl-C stops at once.

    Attributes:
        signal: ``SIGTERM``, ``SIGINT`` or None.
    """

    def __init__(self) -> None:
        """Hears nothing yet."""
        self.signal: str | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # others cannot handle signals
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == "SIGINT":
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
        # Straight to the descriptor: a handler may run in the middle of another print.
        os.write(2, b"\nstopping at the end of this iteration, with everything saved\n")
