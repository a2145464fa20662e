"""Checkpoints of a training: one safetensors file each, whole or absent, never a pickle.

``state-000020.000kimg.safetensors`` holds networks and optimisers as tensors and everything else as JSON in
its header, with the sha256 of both. A file that does not have the digest it claims is not used: the one
before is, and the user is told.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from evalkit.errors import CheckpointError, StoreError
from evalkit.files import atomic_write, explain_os_errors
from reference_models.training.state import as_json, digest

FORMAT = "evalkit-training-1"
_NAME = re.compile(r"state-(\d+)\.(\d{3})kimg\.safetensors")


class State(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        path: Its file.
        tensors: By name, on the CPU.
        facts: All else.
    """

    path: Path
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def path_of(folder: Path, images: int) -> Path:
    """The file of the checkpoint after so many images."""
    return folder / f"state-{images // 1000:06d}.{images % 1000:03d}kimg.safetensors"


def images_of(path: Path) -> int | None:
    """After how many images a checkpoint was written, by its name; None for another file."""
    found = _NAME.fullmatch(path.name)
    return None if found is None else int(found[1]) * 1000 + int(found[2])


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first; none where there is no folder."""
    found = [] if not folder.is_dir() else [path for path in folder.iterdir() if images_of(path) is not None]
    return sorted(found, key=lambda path: images_of(path) or 0, reverse=True)


def save(folder: Path, images: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
    """Writes a checkpoint.

    Args:
        folder: Where checkpoints lie.
        images: Images seen so far, which name the file.
        tensors: On the CPU, contiguous, each with memory of its own.
        facts: What JSON can hold, without NaN.

    Returns:
        The file.

    Raises:
        StoreError: The disk is full, or the folder cannot be written; every other checkpoint is as it was.
    """
    from safetensors.torch import save as to_bytes

    text, path = as_json(facts), path_of(folder, images)
    header = {"format": FORMAT, "facts": text, "sha256": digest(tensors, text)}
    data = to_bytes(dict(tensors), metadata=header)
    try:
        with atomic_write(path) as file:
            file.write(data)
    except StoreError as error:
        older = [each for each in checkpoints(folder) if each != path]
        kept = f"{older[0].name} and all before it are whole" if older else "there was none before it"
        raise StoreError(
            f"the checkpoint after {images / 1000:g} kimg could not be saved: {error.__cause__ or error}; "
            f"{kept}; free {len(data) / 2**20:,.0f} MiB or more where {folder} lies, and start the same "
            "command again with --resume auto"
        ) from error
    return path


def load(path: Path) -> State:
    """Reads a checkpoint, and checks every bit of it.

    Raises:
        CheckpointError: It is missing, cut short, changed, or no checkpoint of a training.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        there = f"{path} is no file" if path.exists() else f"nothing is at {path}"
        raise CheckpointError(f"{there}; give a state-….safetensors file, or --resume auto")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [""])[0][:160]
        raise CheckpointError(f"{path} cannot be read ({first}); it is cut short or damaged") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no checkpoint of a training; --resume takes auto, or a state-….safetensors file from "
            "the checkpoints folder of a run"
        )
    text = header.get("facts", "")
    if digest(tensors, text) != header.get("sha256"):
        raise CheckpointError(f"{path} has another digest than it claims; it is damaged")
    return State(path, tensors, json.loads(text))


def latest(folder: Path) -> tuple[State | None, list[str]]:
    """The newest checkpoint that is sound.

    Damaged newer ones are renamed to ``….damaged``, so that they neither count as kept nor come up again.

    Returns:
        The checkpoint, or None where there is none at all; and what was wrong with newer ones.

    Raises:
        CheckpointError: There are checkpoints, and none of them can be used.
        StoreError: A damaged one cannot be renamed.
    """
    notes: list[str] = []
    damaged: list[Path] = []
    for path in checkpoints(folder):
        try:
            state = load(path)
        except CheckpointError as error:
            notes.append(f"{error}; going back to the checkpoint before it")
            damaged.append(path)
            continue
        for each in damaged:
            with explain_os_errors(each, "renaming"):
                each.rename(each.with_name(each.name + ".damaged"))
        return state, notes
    if damaged:
        raise CheckpointError(
            f"none of the {len(damaged)} checkpoints in {folder} can be used ({notes[0].partition(';')[0]}); "
            "start anew in another folder"
        )
    return None, []


def prune(folder: Path, keep: int, protected: Collection[Path] = ()) -> None:
    """Deletes all but the newest checkpoints.

    Args:
        folder: Where they lie.
        keep: How many of the newest stay.
        protected: These stay as well.
    """
    names = {path.name for path in protected}
    for path in checkpoints(folder)[keep:]:
        if path.name not in names:
            with contextlib.suppress(OSError):  # one too many does no harm
                path.unlink()
