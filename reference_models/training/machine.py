"""The device of training: which it is, how it computes, and what to do when its memory is too little.

Convolutions and products of float32 are computed in float32, not in TF32's 10 bits, as in the official
training loops (NVlabs/stylegan3@c233a91, training/training_loop.py).
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from evalkit.errors import TrainingError, UsageError
from reference_models.training.distributed import world


def pick_device(asked: str) -> torch.device:
    """The device of this process: ``auto`` takes a GPU where there is one, each process its own.

    Raises:
        UsageError: The name is unknown, or a GPU was asked for and there is none.
    """
    there = torch.cuda.is_available()
    if asked == "cpu" or (asked == "auto" and not there):
        return torch.device("cpu")
    if asked not in ("auto", "cuda") and not (asked.startswith("cuda:") and asked[5:].isdigit()):
        raise UsageError(f"unknown device {asked!r}; use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if not there or (asked.startswith("cuda:") and int(asked[5:]) >= count):
        raise UsageError(f"{asked} was asked for and torch sees {count} GPUs; use --device auto or cpu")
    device = torch.device(asked if asked.startswith("cuda:") else f"cuda:{world()[2] % count}")
    torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def numerics(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """How operations compute for as long as the block lasts.

    Args:
        device: Of training.
        deterministic: Refuses operations whose results differ from run to run.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without it
    products = torch.backends.cuda.matmul.allow_tf32
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=not deterministic, deterministic=deterministic, allow_tf32=False
    )
    try:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cuda.matmul.allow_tf32 = False
        with flags:
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cuda.matmul.allow_tf32 = products


def describe(device: torch.device, size: int) -> dict[str, Any]:
    """What a run must have in common with its first part to go on bit for bit."""
    cuda = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "processes": size,
        "threads": None if cuda else torch.get_num_threads(),
    }


def memory(device: torch.device) -> dict[str, float]:
    """Most memory so far, in MiB: of this process, and of its GPU since `reset_peak`."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    found = {"memory/rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if device.type == "cuda":
        found["memory/gpu_peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return found


def reset_peak(device: torch.device) -> None:
    """Forgets the most memory that a GPU held."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


# ------------------------------------------------------------------------------------------ out of memory


def batch_that_fits(held: int, peak: int, total: int, batch: int) -> int:
    """Images that would go through the networks at once, after ``batch`` did not.

    Args:
        held: Bytes of weights, averages and optimisers.
        peak: Most bytes that were held when memory ran out.
        total: Bytes there are.
        batch: Images at once.

    Returns:
        From 1 to ``batch // 2``: a power of two, with a tenth of the memory left free.
    """
    each = max(peak - held, 1) / max(batch, 1)
    room = int(max(0.9 * total - held, 0) // each)
    fits = min(room, batch // 2)
    return 1 << (fits.bit_length() - 1) if fits > 0 else 1


@contextlib.contextmanager
def explain_memory(device: torch.device, config: Mapping[str, Any], batch: int, held: int) -> Iterator[None]:
    """Says which batch would fit when memory runs out in the block.

    Args:
        device: Of training.
        config: `Task.config`, whose recipe says how the batch is set.
        batch: Images of an iteration of this process.
        held: Bytes held on the device before the first iteration.

    Raises:
        TrainingError: Memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_memory(error):
            raise
        recipe = config.get("recipe", {})
        at_once = min(recipe.get("batch_gpu") or batch, batch)
        if device.type == "cuda":
            total = torch.cuda.get_device_properties(device).total_memory
            fits = batch_that_fits(held, torch.cuda.max_memory_allocated(device), total, at_once)
        else:
            fits = max(at_once // 2, 1)
        if at_once <= 1:
            advice = "not even one image fits: take a smaller preset or resolution, or a larger device"
        elif "batch_gpu" in recipe:
            advice = f"{fits} should fit: give --set batch_gpu={fits}, which keeps the batch"
        elif "schedule" in recipe:
            advice = f"{fits} should fit: give --set schedule.minibatch_base={fits}"
        else:
            advice = f"{fits} should fit: give --set batch={fits}"
        raise TrainingError(f"out of memory on {device} with {at_once} images at once; {advice}") from error


def _is_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in text or "can't allocate" in text
    )
