"""What a training says of itself: a line of JSON a tick, TensorBoard's files, a line on the screen.

``log.jsonl`` is cut back to the checkpoint when a training is resumed, so that apart from times it ends up as
that of a training that was never interrupted.
"""

from __future__ import annotations

import collections
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import UsageError
from evalkit.files import explain_os_errors, write_text

LOG = "log.jsonl"
_TENSORBOARD = "tensorboard"
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_SAMPLES = 0.5
_WINDOW = 120


class Log:
    """The log of one run; on processes other than the main one it does nothing."""

    def __init__(self, folder: Path, *, tensorboard: bool, is_main: bool) -> None:
        """Opens nothing but what TensorBoard needs.

        Args:
            folder: That of the run; ``log.jsonl`` and ``tensorboard/`` lie in it.
            tensorboard: Whether TensorBoard's files are written too.
            is_main: Whether this process writes.

        Raises:
            UsageError: TensorBoard is asked for and not installed.
        """
        self._path, self._is_main = folder / LOG, is_main
        self._tensorboard = folder / _TENSORBOARD if tensorboard and is_main else None
        self._writer_class: Any = _writer_class() if tensorboard else None
        self._writer: Any = None
        self._images = 0

    def write(self, tick: Mapping[str, float | int | str]) -> None:
        """Appends a line; numbers that are not finite become null.

        Args:
            tick: Values by name; ``images`` says when.

        Raises:
            StoreError: The disk is full, or the place cannot be written.
        """
        if not self._is_main:
            return
        row = {name: _json_value(value) for name, value in tick.items()}
        with explain_os_errors(self._path, "writing"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self._write_tensorboard(tick)

    def _write_tensorboard(self, tick: Mapping[str, float | int | str]) -> None:
        if self._tensorboard is None:
            return
        if self._writer is None:
            # What an interrupted run wrote beyond its checkpoint is hidden.
            self._writer = self._writer_class(str(self._tensorboard), purge_step=self._images + 1)
        for name, value in tick.items():
            if not isinstance(value, str):
                self._writer.add_scalar(name, value, global_step=int(tick["images"]))
        self._writer.flush()

    def keep_until(self, images: int) -> None:
        """Drops the lines of more images, and one that was cut off while it was written.

        Raises:
            StoreError: The place cannot be written.
        """
        self._images = images
        if not self._is_main or not self._path.exists():
            return
        text = self._path.read_text(encoding="utf-8", errors="replace")
        kept = [json.dumps(row) + "\n" for row in _parse(text) if row.get("images", 0) <= images]
        if "".join(kept) != text:
            write_text(self._path, "".join(kept))

    def rows(self) -> list[dict[str, Any]]:
        """All lines, in order."""
        if not self._path.exists():
            return []
        return _parse(self._path.read_text(encoding="utf-8", errors="replace"))

    def close(self) -> None:
        """Ends TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _parse(text: str) -> list[dict[str, Any]]:
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _json_value(value: float | int | str) -> float | int | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _writer_class() -> Any:  # noqa: ANN401 - a class of an optional package
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            f"--tensorboard needs the package tensorboard, which cannot be imported ({error}); install it "
            "with `pip install evalkit[tensorboard]`, or leave --tensorboard out: log.jsonl and curves.png "
            "hold the same numbers"
        ) from error
    return SummaryWriter


class Silent:
    """Says nothing: for use as a library."""

    def say(self, text: str) -> None:
        """Drops the line."""

    def progress(self, images: int, total: int, values: Mapping[str, float], seconds: float) -> None:
        """Drops the numbers."""

    def close(self) -> None:
        """Has nothing to close."""


class Screen:
    """Words and progress on standard error: a line that is renewed on a terminal, plain lines when piped."""

    def __init__(self) -> None:
        """Looks whether standard error is a terminal."""
        self._console: Any = None
        self._live: Any = None
        if sys.stderr.isatty():
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
        self._samples: collections.deque[tuple[float, int]] = collections.deque(maxlen=_WINDOW)
        self._said: float | None = None

    def say(self, text: str) -> None:
        """One line for the user."""
        if self._console is not None:
            self._console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def progress(self, images: int, total: int, values: Mapping[str, float], seconds: float) -> None:
        """Shows how far training is; called after every iteration, shown a few times a second at most.

        Args:
            images: Images seen, those before a resume included.
            total: Images to see.
            values: Of the latest line of the log; losses are shown.
            seconds: Since this process began to train.
        """
        last = images >= total
        if not last and self._samples and seconds - self._samples[-1][0] < _SECONDS_BETWEEN_SAMPLES:
            return
        self._samples.append((seconds, images))
        if self._console is not None:
            self._show(self._text(images, total, values))
            if last:
                self.close()
        elif last or self._said is None or seconds - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = seconds
            self.say(self._text(images, total, values))

    def close(self) -> None:
        """Leaves the last state of the renewed line standing, and the terminal to others."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self, text: str) -> None:
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def _text(self, images: int, total: int, values: Mapping[str, float]) -> str:
        # The rate of the last minute or so: what came before says little about how long the rest takes.
        (then, before), (now, _) = self._samples[0], self._samples[-1]
        parts = [f"{images / 1000:,.1f}/{total / 1000:,g} kimg"]
        if images > before and now > then:
            rate = (images - before) / (now - then)
            parts.append(
                f"{rate:,.1f} img/s, {1000 / rate:,.1f} s/kimg, {_clock((total - images) / rate)} left"
            )
        parts += [f"{name} {value:.3f}" for name, value in values.items() if name.startswith("loss/")]
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
