"""A metric's name is a contract: frozen specifications whose digest covers every field.

Two numbers may stand in one column only if they were made under protocols of equal digest, with the same
extractor weights, against the same data. A change of any field needs a new version; `locked.json` holds the
digests of all that were ever published, and a test compares.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from evalkit.digest import digest, plain
from evalkit.protocols.restoration_options import (
    ConditionalLikelihoodOptions,
    PerceptualOptions,
    RestorationOptions,
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FrechetOptions:
    """Fréchet distance between Gaussians fitted to two sets of features.

    Attributes:
        ddof: Covariances divide by ``n - ddof``. StyleGAN3 divides by n, nearly everybody else by n - 1.
    """

    ddof: Literal[0, 1]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FrechetInfinityOptions:
    """Fréchet distance extrapolated to infinitely many samples by a line through 1/n.

    Attributes:
        ddof: As in `FrechetOptions`.
        num_points: Number of sample sizes, spread evenly from the smallest to all.
        min_fake: Smallest sample size; None takes a tenth of the samples.
        seed: Seed of the draws.
    """

    ddof: Literal[0, 1]
    num_points: int
    min_fake: int | None
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class KernelOptions:
    """Kernel distance (squared MMD, unbiased within the sets) averaged over random subsets.

    Attributes:
        kernel: ``poly`` is (x·y · gamma + coef0)^degree with gamma = 1/d; ``rbf`` is exp(-|x-y|² / 2 sigma²).
        degree: Degree of the polynomial kernel.
        coef0: Offset of the polynomial kernel.
        sigma: Bandwidth of the rbf kernel.
        num_subsets: Number of subsets.
        subset_size: Images in a subset, of either set.
        subset_rule: ``exact`` refuses smaller sets; ``shrink`` takes the smaller set's size if that is less.
        draw_order: Which set is drawn from first, which fixes the draws of a seed.
        seed: Seed of the draws (numpy RandomState).
    """

    kernel: Literal["poly", "rbf"]
    degree: int
    coef0: float
    sigma: float
    num_subsets: int
    subset_size: int
    subset_rule: Literal["exact", "shrink"]
    draw_order: Literal["fake-first", "real-first"]
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InceptionScoreOptions:
    """exp of the mean KL divergence between p(y|x) and p(y), averaged over splits.

    Attributes:
        splits: Number of equal splits.
        ddof: Of the standard deviation over splits.
        shuffle_seed: Seed of the permutation before splitting; None keeps the order of the samples.
    """

    splits: int
    ddof: Literal[0, 1]
    shuffle_seed: int | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourOptions:
    """Nearest-neighbour estimates of how two sets cover each other.

    Attributes:
        k: Neighbours, the point itself not counted.
        inside: ``<=`` counts a point on the rim of a ball as inside (Kynkäänniemi et al.), ``<`` does not
            (Naeem et al.).
        values: What is reported, in order.
    """

    k: int
    inside: Literal["<=", "<"]
    values: tuple[Literal["precision", "recall", "density", "coverage"], ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PathLengthOptions:
    """Mean perceptual distance of images a small step apart in a latent space, over the step squared.

    Attributes:
        space: Where the step is taken: ``z``, or the styles ``w``.
        sampling: ``full`` steps from anywhere between two latents, ``end`` from one of them.
        interpolation: Of two z: ``slerp`` on the unit sphere, or ``lerp``. Styles are always joined by lines.
        epsilon: Length of the step, as a share of the way between the two latents.
        crop: Whether only the middle counts: rows 3/8 to 7/8 and columns 2/8 to 6/8.
        reduce: How images shrink: by a box filter to 256 pixels, by the side after the crop
            (``box-by-crop``) or of the whole image (``box-by-image``); or to 64 pixels (``64``, by areas, or
            bilinearly from smaller images).
        pixels: ``float`` images, or ``uint8``, as rounded for viewing.
        lower: Percentile below which distances are left out.
        upper: Percentile above which distances are left out.
        draws: ``seeds`` gives every pair a seed of its own; ``stream`` draws all from one NumPy stream.
    """

    space: Literal["z", "w"]
    sampling: Literal["full", "end"]
    interpolation: Literal["slerp", "lerp"]
    epsilon: float
    crop: bool
    reduce: Literal["box-by-crop", "box-by-image", "64"]
    pixels: Literal["float", "uint8"]
    lower: float
    upper: float
    draws: Literal["seeds", "stream"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SeparabilityOptions:
    """exp2 of how much of binary attributes a linear classifier of the latents leaves open.

    Attributes:
        keep: Share of the samples that are kept: those whose attribute its classifier is surest of.
        penalty: C of the linear support vector machine.
        spaces: The latents, each of which is one value.
    """

    keep: float
    penalty: float
    spaces: tuple[Literal["z", "w"], ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EquivarianceOptions:
    """PSNR between the image of a moved input and the moved image.

    Attributes:
        operation: ``int``, a shift by whole pixels; ``frac``, by fractions of them; ``rot``, a rotation.
        translate_max: Largest shift, as a share of the image, in either direction.
        rotate_max: Largest rotation, as a share of half a turn, in either direction.
        batch: Images that share one shift or angle.
    """

    operation: Literal["int", "frac", "rot"]
    translate_max: float
    rotate_max: float
    batch: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LikelihoodOptions:
    """Mean of -log2 p(x) over the dimensions of real images: bits per dimension.

    Attributes:
        bound: What stands for -ln p(x): ``exact``; ``elbo``, the negative evidence lower bound of one
            posterior sample an image; ``iwae``, the importance-weighted bound.
        num_importance: K, the posterior samples of an importance-weighted bound; None of the others.
        bits: Bits of a level. With 5, the likelihood is one of images floored to multiples of 8.
    """

    bound: Literal["exact", "elbo", "iwae"]
    num_importance: int | None
    bits: Literal[8, 5]


Precision = Literal["float32", "bfloat16"]
Capability = Literal["HasLatents", "Transformable", "HasLikelihood", "Restores"]
ModelOptions = PathLengthOptions | SeparabilityOptions | EquivarianceOptions | LikelihoodOptions
Options = (
    FrechetOptions
    | FrechetInfinityOptions
    | KernelOptions
    | InceptionScoreOptions
    | NeighbourOptions
    | ModelOptions
    | RestorationOptions
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What a reader wants to know of a protocol. Words alone: rewording them changes no number and no digest.

    Attributes:
        title: One line for listings.
        source: The paper and the official file and commit whose convention this is.
        deviates: Where the number can differ from the official one, and why.
    """

    title: str
    source: str
    deviates: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProtocolSpec:
    """Everything that decides a number, but the data and the weights.

    Attributes:
        name: What users type and papers quote.
        version: Raised whenever another field changes.
        extractor: Name of the feature extractor.
        layer: Its layer.
        resize: How images reach the network's size.
        precision: Type of the network's weights and activations.
        num_real: At most so many real images are used, the first ones; None takes all there are.
        num_fake: Exactly so many samples are used, the first ones; None takes all that are given.
        options: The metric and its own settings.
        about: Title, source and deviations, in words.
    """

    name: str
    version: int
    extractor: str
    layer: str
    resize: str
    precision: Precision
    num_real: int | None
    num_fake: int | None
    options: Options
    about: About

    @property
    def digest(self) -> str:
        """sha256 over every field but the words about it."""
        return digest({f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "about"})

    @property
    def id(self) -> str:
        """Name, version and the start of the digest: enough to tell two protocols apart in print."""
        return f"{self.name}/v{self.version}/{self.digest[:12]}"

    def to_dict(self) -> dict[str, Any]:
        """As records hold it: name, version, digest, and every field."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "fields": plain(self),
        }

    @property
    def needs_data(self) -> bool:
        """Whether real images take part."""
        if isinstance(self.options, (LikelihoodOptions, RestorationOptions)):
            return True
        return self.capability is None and not isinstance(self.options, InceptionScoreOptions)

    @property
    def capability(self) -> Capability | None:
        """What a model must offer; None where images are enough (`evalkit.adapters.capabilities`)."""
        if isinstance(self.options, EquivarianceOptions):
            return "Transformable"
        if isinstance(self.options, LikelihoodOptions):
            return "HasLikelihood"
        if isinstance(self.options, RestorationOptions):
            return "Restores"
        return "HasLatents" if isinstance(self.options, (PathLengthOptions, SeparabilityOptions)) else None

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values it reports: the protocol's own name, or one name a part."""
        if isinstance(self.options, NeighbourOptions):
            return tuple(f"{self.name}_{part}" for part in self.options.values)
        if isinstance(self.options, SeparabilityOptions):
            return tuple(f"{self.name}_{space}" for space in self.options.spaces)
        return (self.name,)

    @property
    def higher_is_better(self) -> bool:
        """Direction of improvement."""
        if isinstance(self.options, RestorationOptions):
            return not isinstance(self.options, (PerceptualOptions, ConditionalLikelihoodOptions))
        return isinstance(self.options, (InceptionScoreOptions, NeighbourOptions, EquivarianceOptions))

    def vary(
        self, *, layer: str | None = None, precision: Precision | None = None, k: int | None = None
    ) -> ProtocolSpec:
        """The same protocol on another layer, in another precision or with another k; its name says so.

        The new name carries every change (``fid@192``, ``prdc@192@k3``), since the number is another one. A
        ``k`` is taken by nearest-neighbour metrics and leaves the others as they are. Metrics of a model
        itself stay as they are: they fix what they look through.
        """
        spec = self
        if self.capability is not None:
            return spec
        if layer is not None and layer != self.layer:
            spec = dataclasses.replace(spec, name=f"{spec.name}@{layer}", layer=layer)
        if precision is not None and precision != self.precision:
            spec = dataclasses.replace(spec, name=f"{spec.name}@{precision}", precision=precision)
        if k is not None and isinstance(spec.options, NeighbourOptions) and k != spec.options.k:
            spec = dataclasses.replace(
                spec, name=f"{spec.name}@k{k}", options=dataclasses.replace(spec.options, k=k)
            )
        return spec
