"""Tables that link our parameters to those of another program, and the moves between the two, both total.

A `Link` names one tensor twice and says how its axes differ. A conversion takes all tensors of a network
through such a table: a tensor that is missing or left over, or has another shape, is an error that lists
every one (`reference_models.convert.rules.check_total`). Values are float32 on our side: half and double
precision are converted, anything that is not a number is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evalkit.adapters.restricted_pickle import clip
from evalkit.errors import CheckpointError, nearest
from reference_models.convert.rules import check_total
from reference_models.convert.state import checked_state

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]
_MOST_ITEMS = 256


@dataclass(frozen=True, slots=True)
class Layout:
    """How the axes of a tensor differ; ``to_ours`` and ``to_theirs`` are inverse.

    Attributes:
        to_ours: From the other program's layout.
        to_theirs: Into it.
    """

    to_ours: Callable[[Array], Array]
    to_theirs: Callable[[Array], Array]


SAME = Layout(lambda a: a, lambda a: a)
# TensorFlow's (k, k, in, out) and (in, out) to torch's (out, in, k, k) and (out, in).
TF_CONV = Layout(lambda a: a.transpose(3, 2, 0, 1), lambda a: a.transpose(2, 3, 1, 0))
TRANSPOSED = Layout(lambda a: a.T, lambda a: a.T)
# An upscaling kernel in its fused and its unfused form.
EXCHANGED_AND_FLIPPED = Layout(
    lambda a: a.swapaxes(0, 1)[:, :, ::-1, ::-1], lambda a: a.swapaxes(0, 1)[:, :, ::-1, ::-1]
)


@dataclass(frozen=True, slots=True)
class Link:
    """One tensor under both of its names.

    Attributes:
        ours: Name in our state dict.
        theirs: Name in the other program.
        layout: How its axes differ.
    """

    ours: str
    theirs: str
    layout: Layout = SAME


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a module's state dict, without its memory."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build().state_dict().items()}


def tf_links(shapes: Shapes, *, verbatim: Callable[[str], bool] = lambda name: False) -> list[Link]:
    """Links to TensorFlow variables whose names are ours with ``/`` for ``.``.

    Args:
        shapes: Our names and shapes.
        verbatim: Which tensors keep their layout though they have two or four axes.
    """
    by_rank = {4: TF_CONV, 2: TRANSPOSED}
    return [
        Link(
            name,
            name.replace(".", "/"),
            SAME if verbatim(name) else by_rank.get(len(shape), SAME),
        )
        for name, shape in shapes.items()
    ]


def their_shapes(links: Sequence[Link], shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Names and shapes that the other program has."""
    zero = np.float32(0)
    return {
        link.theirs: tuple(link.layout.to_theirs(np.broadcast_to(zero, shapes[link.ours])).shape)
        for link in links
    }


def to_ours(
    given: Mapping[str, Array], links: Sequence[Link], shapes: Shapes, what: str
) -> dict[str, Tensor]:
    """Takes all tensors of the other program into our state dict.

    Args:
        given: Their names and arrays.
        links: The table.
        shapes: Our names and shapes.
        what: How messages name the network.

    Raises:
        CheckpointError: A tensor is missing, left over, of another shape, no numbers, or not finite.
    """
    check_total({name: tuple(a.shape) for name, a in given.items()}, their_shapes(links, shapes), what)
    return checked_state({link.ours: link.layout.to_ours(given[link.theirs]) for link in links}, shapes, what)


def to_theirs(
    state: Mapping[str, Tensor], links: Sequence[Link], shapes: Shapes, what: str
) -> dict[str, Array]:
    """Takes our state dict into all tensors of the other program, as float32.

    Raises:
        CheckpointError: A tensor is missing, left over or of another shape.
    """
    check_total({name: tuple(value.shape) for name, value in state.items()}, shapes, what)
    return {
        link.theirs: np.array(
            link.layout.to_theirs(state[link.ours].detach().cpu().float().numpy()), order="C"
        )
        for link in links
    }


def translate_options(
    given: Mapping[str, Any],
    *,
    fields: Mapping[str, str],
    fixed: Mapping[str, tuple[Any, ...]],
    ignored: Collection[str],
    what: str,
) -> dict[str, Any]:
    """Renames the official constructor's options to fields of a config.

    Args:
        given: Official names and values.
        fields: Official name to ours.
        fixed: Options that this project has in one form alone, and the values that mean that form.
        ignored: Options that do not change what the network computes.
        what: How messages name the network.

    Raises:
        CheckpointError: An option is unknown, or asks for a form that is not there.
    """
    known = {*fields, *fixed, *ignored}
    if unknown := sorted(set(given) - known):
        raise CheckpointError(
            f"{what}: unknown options {', '.join(repr(clip(name)) for name in unknown[:9])} (nearest: "
            f"{nearest(unknown[0], sorted(known))}); the file was written by another program, or a changed "
            "one"
        )
    plain = {
        name: _plain(value, f"{what}: option {name}") for name, value in given.items() if name not in ignored
    }
    for name, accepted in fixed.items():
        if name in plain and not any(_same(plain[name], value) for value in accepted):
            raise CheckpointError(
                f"{what}: option {name} is {clip(repr(plain[name]))}; only "
                f"{' or '.join(map(repr, accepted))} can be "
                "rebuilt, "
                "which is what the published networks have"
            )
    return {fields[name]: value for name, value in plain.items() if name in fields}


def _same(a: object, b: object) -> bool:
    # True and 1 differ here: an option that is a switch is not a number.
    return type(a) is type(b) and a == b


def _plain(value: object, what: str) -> object:
    # Scalars and short lists of numbers as Python's own: configs are compared, printed and written as JSON.
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple) and len(value) <= _MOST_ITEMS:
        items = [item.item() if isinstance(item, np.generic) else item for item in value]
        if all(isinstance(item, int | float) for item in items):
            return tuple(float(item) for item in items)
    elif (
        value is None
        or isinstance(value, int | float)
        or (isinstance(value, str) and len(value) <= _MOST_ITEMS)
    ):
        return value
    raise CheckpointError(
        f"{what} is a {type(value).__name__} that no published network has; the file is damaged"
    )
