"""Which checkpoint a training goes on from, and whether it may."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import CheckpointError, UsageError
from reference_models.training import checkpoint
from reference_models.training.config import differences
from reference_models.training.distributed import ProcessGroup
from reference_models.training.folder import RunFolder
from reference_models.training.logs import Screen, Silent
from reference_models.training.state import as_json


def find(
    resume: str | None, folder: RunFolder, group: ProcessGroup, screen: Screen | Silent
) -> checkpoint.State | None:
    """The checkpoint to go on from; None where training begins.

    Args:
        resume: ``auto``, the path of a checkpoint, or None.
        folder: Of the run.
        group: The processes, all of which call this.
        screen: Where it is said what is wrong with damaged ones.

    Raises:
        CheckpointError: The one that was named cannot be used, or none can.
    """
    if resume is None:
        return None
    if resume != "auto":
        found = checkpoint.load(Path(resume))
        _check_newest(found.path, folder)
        return found
    # Process 0 first: it moves damaged ones out of the way of the others.
    newest: list[checkpoint.State | None] = []

    def look() -> None:
        state, notes = checkpoint.latest(folder.checkpoints)
        newest.append(state)
        for note in notes:
            screen.say(note)

    group.on_main(look)
    return newest[0] if newest else checkpoint.latest(folder.checkpoints)[0]


def goes_on_here(resume: str | None, folder: RunFolder) -> bool:
    """Whether what is asked for goes on with the run in a folder, rather than beginning one there."""
    if resume is None or resume == "auto":
        return resume == "auto"
    return Path(resume).resolve().parent == folder.checkpoints.resolve()


def compare(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Holds what a run is against what it was.

    Args:
        path: The checkpoint.
        before: What it says: ``run``, ``task``, ``data`` and ``machine``.
        now: Likewise.

    Returns:
        What the user should know.

    Raises:
        UsageError: Something differs that changes what is computed; all of it is listed.
    """
    now = json.loads(as_json(now))  # as the checkpoint has it: JSON knows no tuples
    changes = differences(before, now)
    if changes.unsafe:
        raise UsageError(
            f"{path} is of a training with other settings, so that going on would be neither the one nor the "
            f"other: {'; '.join(changes.unsafe)}. Resume with the settings it had, or start anew in another "
            "--output"
        )
    said = [f"settings that changed: {'; '.join(changes.safe)}"] if changes.safe else []
    if before["machine"] != now["machine"]:
        was, is_now = (
            ", ".join(f"{name} {value}" for name, value in each.items() if value is not None)
            for each in (before["machine"], now["machine"])
        )
        said.append(
            f"begun on {was}; going on with {is_now}: what follows is not bit for bit what would have been"
        )
    return said


def _check_newest(path: Path, folder: RunFolder) -> None:
    # A checkpoint that is not the newest of its own folder would leave two histories in one place.
    there = checkpoint.checkpoints(folder.checkpoints)
    if any(path.resolve() == each.resolve() for each in there) and path.name != there[0].name:
        raise CheckpointError(
            f"{path} is not the newest checkpoint of {folder.root}, which would hold two histories; give "
            f"another --output, or delete the newer ones ({there[0].name} …)"
        )
