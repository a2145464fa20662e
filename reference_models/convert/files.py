"""evalkit's own checkpoints: numbers in ``NAME.safetensors``, and what they are in ``NAME.json``.

Neither file can hold code. The JSON names the model, its configuration, where the numbers came from, and the
digest of the tensors (`evalkit.digest.arrays_sha256`); the digest ties the pair together, so that a pair of
which one half was replaced is noticed. Each file is written whole or not at all, numbers first.

Half precision is widened to float32 when written and when read. Values that are not finite are refused by
name: they would otherwise turn into black images.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.digest import arrays_sha256
from evalkit.errors import CheckpointError
from evalkit.files import atomic_write, write_text

Array = npt.NDArray[Any]

FORMAT = "evalkit-checkpoint-1"
SUFFIXES = (".safetensors", ".json")
_OWN_FIELDS = ("format", "model", "config", "tensors_sha256")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A checkpoint as it lies on the disk.

    Attributes:
        model: Name of the model.
        config: Its configuration, as JSON has it.
        tensors: Arrays by state-dict name; floats are float32 or float64, and finite.
        kimg: Thousands of images it was trained on, or None where nobody knows.
        source_sha256: The sha256 of the file it was converted from, or None.
        tensors_sha256: Digest of the tensors.
        extra: Whatever else the JSON says.
    """

    model: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Array]
    kimg: float | None
    source_sha256: str | None
    tensors_sha256: str
    extra: Mapping[str, Any]


def checkpoint_paths(path: str | Path) -> tuple[Path, Path]:
    """The two files behind a name: that of the numbers, and that of their description.

    Args:
        path: Either file, or their common name without the ending.
    """
    given = Path(path)
    stem = given.with_suffix("") if given.suffix in SUFFIXES else given
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def clean_tensors(tensors: Mapping[str, Any], where: str) -> dict[str, Array]:
    """Arrays of numbers that a model can be loaded from.

    Args:
        tensors: NumPy arrays or torch tensors, by name.
        where: How messages name the file or the network.

    Returns:
        NumPy arrays on the CPU; half precision widened to float32.

    Raises:
        CheckpointError: A tensor holds no numbers, or one that is NaN or infinite.
    """
    cleaned: dict[str, Array] = {}
    for name, value in tensors.items():
        if hasattr(value, "detach"):  # torch, which is not imported for this
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
            value = value.numpy()
        value = np.asarray(value) if isinstance(value, np.generic) else value
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            raise CheckpointError(
                f"{where}: {name} is no array of numbers; the file is damaged or of another kind"
            )
        array = value.astype(np.float32) if value.dtype == np.float16 else value
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(np.count_nonzero(~np.isfinite(array)))
            raise CheckpointError(
                f"{where}: {bad:,} of {array.size:,} values of {name} are NaN or infinite; training had "
                "failed when it was saved, or the file is damaged: use an earlier checkpoint"
            )
        cleaned[name] = array
    return cleaned


def tensors_sha256(tensors: Mapping[str, Any]) -> str:
    """Digest of NumPy arrays or torch tensors by name, as `evalkit.digest.arrays_sha256` has it.

    Raises:
        CheckpointError: A tensor holds no numbers, or one that is NaN or infinite.
    """
    return arrays_sha256(clean_tensors(tensors, "a network"))


def save_checkpoint(
    path: str | Path,
    model_name: str,
    config_json: Mapping[str, Any],
    tensors: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a checkpoint.

    Args:
        path: Either file, or their common name without the ending.
        model_name: Name of the model in the catalogue.
        config_json: Its configuration: what JSON can hold.
        tensors: NumPy arrays or torch tensors, by state-dict name.
        extra: Further facts for the JSON, such as ``kimg`` and ``source_sha256``.

    Returns:
        The file of the numbers; its description lies beside it.

    Raises:
        CheckpointError: A tensor holds no numbers, or one that is NaN or infinite.
        StoreError: The disk is full, or the place cannot be written.
    """
    from safetensors.numpy import save

    numbers, description = checkpoint_paths(path)
    cleaned = {
        name: np.ascontiguousarray(a).reshape(a.shape)
        for name, a in clean_tensors(tensors, model_name).items()
    }
    facts = {
        **(extra or {}),
        "format": FORMAT,
        "model": model_name,
        "config": dict(config_json),
        "tensors_sha256": arrays_sha256(cleaned),
    }
    text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with atomic_write(numbers) as file:
        file.write(save(cleaned))
    write_text(description, text)
    return numbers


def read_checkpoint(path: str | Path) -> Stored:
    """Reads a checkpoint.

    Args:
        path: Either file, or their common name without the ending.

    Raises:
        CheckpointError: A file is missing or damaged, the two do not belong together, or a value is not
            finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    numbers, description = checkpoint_paths(path)
    facts = read_description(description)
    if not numbers.is_file():
        raise CheckpointError(
            f"{numbers} is missing beside {description.name}; a checkpoint is the pair of them"
        )
    try:
        loaded = load_file(numbers)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # NumPy has no bfloat16, of which safetensors makes a KeyError, a TypeError or an AttributeError.
        raise CheckpointError(
            f"{numbers} cannot be read as safetensors ({type(error).__name__}: {_line(error)}); it is cut "
            "short or damaged: get it again"
        ) from error
    tensors = clean_tensors(loaded, str(numbers))
    if arrays_sha256(tensors) != facts["tensors_sha256"]:
        raise CheckpointError(
            f"{numbers} and {description.name} do not belong together: the tensors have another digest than "
            "written there; one of them was replaced or changed: get both again"
        )
    kimg, source = facts.get("kimg"), facts.get("source_sha256")
    return Stored(
        model=facts["model"],
        config=facts["config"],
        tensors=tensors,
        kimg=float(kimg) if isinstance(kimg, (int, float)) and not isinstance(kimg, bool) else None,
        source_sha256=source if isinstance(source, str) else None,
        tensors_sha256=facts["tensors_sha256"],
        extra={
            key: value for key, value in facts.items() if key not in (*_OWN_FIELDS, "kimg", "source_sha256")
        },
    )


def read_description(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint, its own fields checked.

    Raises:
        CheckpointError: It is missing, no JSON, or of another format.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: evalkit's checkpoints are a pair NAME.safetensors and NAME.json, and "
            "numbers alone do not say which model they are; put the JSON beside them, or convert the "
            "original file again"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({_line(error)}); get it again") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no description of a checkpoint; its format must be {FORMAT!r}")
    kinds: Mapping[str, type] = {"model": str, "config": dict, "tensors_sha256": str}
    if bad := [key for key, kind in kinds.items() if not isinstance(facts.get(key), kind)]:
        raise CheckpointError(f"{path} has no sound {', '.join(bad)}; it was changed by hand: get it again")
    if not re.fullmatch(r"[0-9a-f]{64}", facts["tensors_sha256"]):
        raise CheckpointError(f"{path} has no sound tensors_sha256; it was changed by hand: get it again")
    return facts


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
