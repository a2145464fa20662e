"""What a model's likelihood is, and functions of one's own as models that have one.

A number of nats means nothing without its kind: an exact likelihood or a bound, of how many bits a level, of
a probability of levels or a density, and of a density on which scale, with which dequantisation. A model says
all of it in ``likelihood``; what it says is checked here, once.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from evalkit.errors import UsageError, nearest

if TYPE_CHECKING:
    from torch import Tensor

Int64Array = npt.NDArray[np.int64]

Kind = Literal["exact", "elbo", "iwae"]
Dequantisation = Literal["discrete", "uniform", "variational", "none"]
Density = Literal["unit", "signed", "levels"]
Units = Literal["nats", "bits", "nats/dim", "bits/dim"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """What a model's ``nats`` returns.

    Attributes:
        kind: ``exact``; ``elbo``, a negative evidence lower bound; ``iwae``, an importance-weighted bound.
        shape: Channels (1 or 3), height and width of the images it takes.
        bits: Bits of a level, 8 or 5; with 5 bits the likelihood is one of levels floored to multiples of 8.
        floors_itself: Whether a model of 5 bits is given all 8, of which it floors what its likelihood is of;
            else it is given floored ones. A bound may look at more than it bounds.
        dequantisation: ``discrete``, a probability of the levels; ``uniform``, a density of images to which
            uniform noise of one level's width was added, which the engine does; ``variational``, a bound on
            the probability through noise of the model's own; ``none``, a density at the levels themselves,
            which is comparable with nothing.
        density: Scale that a density is on: ``unit`` for [0, 1], ``signed`` for [-1, 1], ``levels`` for
            [0, 2^bits]; None for a probability.
        num_importance: K of kind ``iwae``.
        units: Of what is returned: ``nats`` or ``bits`` an image, ``nats/dim`` or ``bits/dim``.
        vouched: Whether a number above that of the uniform model is believed. Units are what is most often
            declared wrongly, so it is refused of somebody else's model; an untrained one may be vouched for.
        note: What a reader of its numbers must know beside all this, in one sentence; or "".

    Raises:
        UsageError: A value cannot be, or two do not go together.
    """

    kind: Kind
    shape: tuple[int, int, int]
    bits: int = 8
    floors_itself: bool = False
    dequantisation: Dequantisation = "discrete"
    density: Density | None = None
    num_importance: int | None = None
    units: Units = "nats"
    vouched: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        choices = {
            "kind": (self.kind, get_args(Kind)),
            "bits": (self.bits, (8, 5)),
            "dequantisation": (self.dequantisation, get_args(Dequantisation)),
            "density": (self.density, (None, *get_args(Density))),
            "units": (self.units, get_args(Units)),
        }
        for name, (value, known) in choices.items():
            if value not in known:
                words = [each for each in known if isinstance(each, str)]
                near = f" (nearest: {nearest(value, words)})" if isinstance(value, str) and words else ""
                raise UsageError(
                    f"a likelihood's {name} is {value!r}{near}; it is one of {', '.join(map(str, known))}"
                )
        sides = self.shape if isinstance(self.shape, (tuple, list)) else ()
        if len(sides) != 3 or not all(map(_counts, sides)) or sides[0] not in (1, 3):
            raise UsageError(
                f"a likelihood's shape is {self.shape!r}; give channels (1 or 3), height and width, such as "
                "(3, 32, 32)"
            )
        if (self.dequantisation in ("uniform", "none")) != (self.density is not None):
            raise UsageError(
                f"a likelihood with dequantisation {self.dequantisation!r} has density={self.density!r}; a "
                "density (uniform, none) needs its scale, unit, signed or levels, and a probability has none"
            )
        if (self.kind == "iwae") != (self.num_importance is not None) or (
            self.num_importance is not None and not _counts(self.num_importance)
        ):
            raise UsageError(
                f"a likelihood of kind {self.kind!r} has num_importance={self.num_importance!r}; kind iwae "
                "needs K, a whole number from 1 up, and the others have none"
            )
        # Whatever it was given as: digests and comparisons know one spelling.
        object.__setattr__(self, "shape", tuple(sides))

    @property
    def num_dims(self) -> int:
        """Dimensions of an image: channels times pixels."""
        channels, height, width = self.shape
        return channels * height * width


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def likelihood_of(model: Any) -> Likelihood:  # noqa: ANN401
    """What a model says of its likelihood.

    Raises:
        UsageError: It says something that cannot be.
    """
    said = model.likelihood
    if isinstance(said, Likelihood):
        return said
    if not isinstance(said, Mapping):
        raise UsageError(
            f"{model.name}: its likelihood is {said!r}; give evalkit.Likelihood(kind=..., shape=...), or a "
            "mapping of its fields"
        )
    known = [field.name for field in dataclasses.fields(Likelihood)]
    if unknown := [name for name in said if name not in known]:
        raise UsageError(
            f"{model.name}: its likelihood says {unknown[0]!r} (nearest: {nearest(unknown[0], known)}); it "
            f"can say {', '.join(known)}"
        )
    if missing := [name for name in ("kind", "shape") if name not in said]:
        raise UsageError(f"{model.name}: its likelihood does not say its {' and '.join(missing)}")
    return Likelihood(**said)


class FunctionLikelihood:
    """A function of images as a model with a likelihood, and nothing else.

    Attributes:
        name: How messages and records name it.
        likelihood: What it returns.
        identity: Digest of the source of the factory that made it, which its file's change changes; None of
            an object. It is known by its first answers besides.
    """

    num_classes = 0

    def __init__(self, function: Callable[..., Any], likelihood: Likelihood, name: str) -> None:
        """Takes the function, which is not called yet."""
        self.name = name
        self.likelihood = likelihood
        self.identity: str | None = None
        self._function = function
        self._seeded = takes_seeds(function)

    @property
    def resolution(self) -> int:
        """Side of the images it takes."""
        return self.likelihood.shape[-1]

    def nats(self, images: Tensor, *, seeds: Int64Array) -> Any:  # noqa: ANN401
        """What the function says of images, in the units declared."""
        return self._function(images, seeds=seeds) if self._seeded else self._function(images)


def takes_seeds(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter ``seeds``."""
    try:
        return "seeds" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def likelihood(
    function: Callable[..., Any],
    *,
    kind: Kind,
    shape: tuple[int, int, int],
    bits: int = 8,
    dequantisation: Dequantisation = "discrete",
    density: Density | None = None,
    num_importance: int | None = None,
    units: Units = "nats",
    vouched: bool = False,
    name: str | None = None,
) -> FunctionLikelihood:
    """A function of your own as a model that `evalkit.evaluate` can ask how likely images are.

    Args:
        function: Takes uint8 images ``(n, c, h, w)``, or float64 ones on the scale of its density where
            ``dequantisation`` is ``uniform``, and returns ``(n,)``: minus the logarithm of its likelihood.
            One that draws takes ``seeds``, int64 ``(n,)``, too, and depends on nothing else.
        kind: See `Likelihood`, as for all that follow.
        shape: Channels, height and width.
        bits: Of a level.
        dequantisation: How levels become what it takes.
        density: Scale of a density.
        num_importance: K of kind ``iwae``.
        units: Of what it returns.
        vouched: Whether more bits than the uniform model needs are believed.
        name: In messages and records; the function's own where None.

    Raises:
        UsageError: What is declared cannot be.
    """
    said = Likelihood(
        kind=kind, shape=shape, bits=bits, dequantisation=dequantisation, density=density,
        num_importance=num_importance, units=units, vouched=vouched,
    )  # fmt: skip
    label = name or str(getattr(function, "__qualname__", type(function).__qualname__))
    return FunctionLikelihood(function, said, label)
