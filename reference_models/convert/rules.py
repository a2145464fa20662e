"""The rule of every conversion: total, so that no tensor is dropped without a word.

What is missing, left over or of another shape is listed in full, not one at a time. The tables of names and
layouts are
each model's own (``convert.py``, `reference_models.convert.layouts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

# A discriminator of the largest model has some 60 tensors, which all can be listed.
_MAX_LISTED = 200


def check_total(given: Shapes, wanted: Shapes, model: str) -> None:
    """Checks that a file has exactly the tensors a model has.

    Args:
        given: Shapes in the file, by name.
        wanted: Shapes in the model, by name.
        model: How the message names the model, such as ``stylegan2 at 256x256``.

    Raises:
        CheckpointError: Tensors are missing, left over or of another shape. All of them are listed.
    """
    missing = [f"{name} {shown(wanted[name])}" for name in wanted if name not in given]
    extra = [f"{name} {shown(given[name])}" for name in given if name not in wanted]
    wrong = [
        f"{name} is {shown(given[name])}, not {shown(wanted[name])}"
        for name in wanted
        if name in given and tuple(given[name]) != tuple(wanted[name])
    ]
    if not (missing or extra or wrong):
        return
    parts = [
        f"{len(items)} {what}: {_listed(items)}"
        for what, items in (("missing", missing), ("left over", extra), ("of another shape", wrong))
        if items
    ]
    raise CheckpointError(
        f"the tensors do not fit {model}; {'; '.join(parts)}. Give the checkpoint of this model and "
        "configuration (`evalkit checkpoint inspect FILE` shows which it is)"
    )


def shown(shape: Sequence[int]) -> str:
    """A shape as messages write it, such as ``[512, 512, 3, 3]``."""
    return f"[{', '.join(map(str, shape))}]"


def _listed(items: Sequence[str]) -> str:
    rest = len(items) - _MAX_LISTED
    return ", ".join(items[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
