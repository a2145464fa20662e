"""A metric's name is a contract: frozen specifications whose digest covers every field.

Two numbers may stand in one column only if they were made under protocols of equal digest, with the same
extractor weights, against the same data. A change of any field needs a new version; `locked.json` holds the
digests of all that were ever published, and a test compares.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from evalkit.digest import digest


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


Precision = Literal["float32", "bfloat16"]
Options = FrechetOptions | FrechetInfinityOptions | KernelOptions | InceptionScoreOptions | NeighbourOptions


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

    @property
    def needs_data(self) -> bool:
        """Whether real images take part."""
        return not isinstance(self.options, InceptionScoreOptions)

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values it reports: the protocol's own name, or one name a part."""
        if isinstance(self.options, NeighbourOptions):
            return tuple(f"{self.name}_{part}" for part in self.options.values)
        return (self.name,)

    @property
    def higher_is_better(self) -> bool:
        """Direction of improvement."""
        return isinstance(self.options, (InceptionScoreOptions, NeighbourOptions))

    def vary(
        self, *, layer: str | None = None, precision: Precision | None = None, k: int | None = None
    ) -> ProtocolSpec:
        """The same protocol on another layer, in another precision or with another k; its name says so.

        The new name carries every change (``fid@192``, ``prdc@192@k3``), since the number is another one. A
        ``k`` is taken by nearest-neighbour metrics and leaves the others as they are.
        """
        spec = self
        if layer is not None and layer != self.layer:
            spec = dataclasses.replace(spec, name=f"{spec.name}@{layer}", layer=layer)
        if precision is not None and precision != self.precision:
            spec = dataclasses.replace(spec, name=f"{spec.name}@{precision}", precision=precision)
        if k is not None and isinstance(spec.options, NeighbourOptions) and k != spec.options.k:
            spec = dataclasses.replace(
                spec, name=f"{spec.name}@k{k}", options=dataclasses.replace(spec.options, k=k)
            )
        return spec
