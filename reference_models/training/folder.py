"""The folder of a run: where its files lie, and that one trainer alone writes there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import StoreError, UsageError
from evalkit.files import explain_os_errors, write_text
from reference_models.training import checkpoint

_LOCK = ".train.lock"


class RunFolder:
    """Paths of a run.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        """Names the folder; nothing is made."""
        self.root = root

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.root / "checkpoints"

    @property
    def config(self) -> Path:
        """What the run was asked for, as JSON."""
        return self.root / "config.json"

    @property
    def results(self) -> Path:
        """Where evaluations file records."""
        return self.root / "results"

    @property
    def network(self) -> Path:
        """The newest average of the generator; its description lies beside it."""
        return self.root / "network.safetensors"

    @property
    def best(self) -> Path:
        """The average of the generator that the first evaluation likes best."""
        return self.root / "best.safetensors"

    @property
    def curves(self) -> Path:
        """Losses, scores and metrics over the images seen."""
        return self.root / "curves.png"

    def fakes(self, images: int) -> Path:
        """The picture of samples after so many images."""
        return self.root / "samples" / f"fakes-{images // 1000:06d}.{images % 1000:03d}kimg.png"

    @property
    def reals(self) -> Path:
        """The picture of images of the data."""
        return self.root / "samples" / "reals.png"

    def holds_a_run(self) -> bool:
        """Whether a training has left weights here; the settings of one that failed at once are no loss."""
        left = self.network.exists() or self.best.exists()
        return left or bool(checkpoint.checkpoints(self.checkpoints))

    def check_fresh(self) -> None:
        """Refuses a folder that holds a training.

        Raises:
            UsageError: It does.
        """
        if self.holds_a_run():
            raise UsageError(
                f"{self.root} holds a training run already; go on with it by --resume auto, or give another "
                "--output"
            )

    def check_writable(self) -> None:
        """Makes the folder, and writes a file of no content there, before any work is done.

        Raises:
            StoreError: It cannot be written.
        """
        with explain_os_errors(self.root, "preparing"):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            for folder in (self.root, self.checkpoints):
                probe = folder / f".writable-{os.getpid()}"
                probe.write_bytes(b"")
                probe.unlink()

    def write_config(self, facts: dict[str, Any]) -> None:
        """Writes what the run was asked for."""
        write_text(self.config, json.dumps(facts, indent=1, sort_keys=True) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other trainers out for as long as the block lasts.

        Raises:
            UsageError: One is at work here.
        """
        from filelock import FileLock, Timeout

        lock, pid = FileLock(self.root / _LOCK), self.root / (_LOCK + ".pid")
        try:
            with explain_os_errors(self.root, "locking"):
                lock.acquire(timeout=0)
        except Timeout:
            with contextlib.suppress(OSError):
                who = f" (process {pid.read_text(encoding='utf-8').strip()})"
                raise UsageError(_busy(self.root, who)) from None
            raise UsageError(_busy(self.root, "")) from None
        try:
            write_text(pid, str(os.getpid()))
            yield
        finally:
            with contextlib.suppress(OSError, StoreError):
                pid.unlink()
            lock.release()


def _busy(root: Path, who: str) -> str:
    return f"another trainer{who} is at work in {root}; wait for it, stop it, or give another --output"
