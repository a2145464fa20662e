"""What a run says while it works, on standard error: a live bar on a terminal, plain lines when piped."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from evalkit.features.extract import Progress

_SECONDS_BETWEEN_LINES = 10.0


class Reporter(Protocol):
    """Where a run's words and progress go."""

    def say(self, text: str) -> None:
        """One line for the user."""

    def track(self, label: str, unit: str = "images") -> contextlib.AbstractContextManager[Progress]:
        """A block of work whose progress, counted in ``unit``, is told to the callable it yields."""


class Silent:
    """Says nothing: for use as a library."""

    def say(self, text: str) -> None:
        """Drops the line."""

    @contextlib.contextmanager
    def track(self, label: str, unit: str = "images") -> Iterator[Progress]:
        """Ignores progress."""
        yield lambda done, total: None


class Lines:
    """Plain lines, at most one every ten seconds a task, for logs and pipes."""

    def say(self, text: str) -> None:
        """Prints the line."""
        print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def track(self, label: str, unit: str = "images") -> Iterator[Progress]:
        """Prints images done, rate and time left."""
        started = last = time.monotonic()

        def update(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done >= total or now - last >= _SECONDS_BETWEEN_LINES:
                last = now
                rate = done / max(now - started, 1e-9)
                left = (total - done) / rate if rate else 0.0
                self.say(f"{label}: {done:,}/{total:,} {unit}, {rate:,.1f}/s, {_clock(left)} left")

        yield update


class Live:
    """A progress bar with rate and time left, on a terminal."""

    def __init__(self) -> None:
        """Opens the terminal on standard error."""
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Prints the line above the bar."""
        self._console.print(text, markup=False)

    @contextlib.contextmanager
    def track(self, label: str, unit: str = "images") -> Iterator[Progress]:
        """Shows a bar until the block ends."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        started = time.monotonic()
        with Bar(*columns, console=self._console) as bar:
            task = bar.add_task(label, total=None, rate="")

            def update(done: int, total: int) -> None:
                rate = done / max(time.monotonic() - started, 1e-9)
                bar.update(task, completed=done, total=total, rate=f"{rate:,.1f} {unit}/s")

            yield update


def reporter() -> Reporter:
    """`Live` on a terminal, else `Lines`."""
    return Live() if sys.stderr.isatty() else Lines()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
