"""The small reference networks of this repository: how each is trained, measured and filed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from common import ROOT
from evalkit.adapters.baselines import BASELINES

TRAIN, TEST = "bundled:digits:train", "bundled:digits:test"
METRICS = "fd_mini,kd_mini,prdc_mini"
RESTORED = "sr_mini,sr_bpd"  # of networks that restore, and of enlargements by rule
BOUND = "bpd_iwae100"  # the bound of the table; records hold others too
BOUNDS = f"bpd_elbo,{BOUND}"
EQUIVARIANCE = ("eqt_int", "eqt_frac", "eqr")  # of networks at 32x32 as well
LARGE = """StyleGANs show equivariance after training, for which the networks at 8x8 are too small: rotations
need more than 12 pixels. They were trained long enough to draw strokes, not the squares' edges, so their
fd_mini is large. SRFlow restores 32x32 from 8x8, and its numbers are those of super-resolution, in a table of
their own: squares are easy to learn, and no task for rules that are smooth (on photographs bicubic is better
than nearest)."""
NUM = 899  # samples: one for every real image
NUM_MOVED = 128  # images whose equivariance is measured
SCALE = 4  # of restorations
NUM_RESTORED = 10  # restorations of each image
FILED = ROOT / "leaderboards" / "references" / "digits"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One network and how it is trained.

    Attributes:
        name: Of its files.
        title: In tables.
        model: Its name in the catalogue.
        preset: Of networks and recipe.
        kimg: Thousands of images it is trained on.
        fit: How the images reach the network's side: ``native`` learns the digits at their own 8x8,
            ``exact`` their squares of 4x4 as they are, at 32x32.
        settings: Values that differ from the preset's, as ``evalkit train --set`` takes them.
        bounds: Metrics of its likelihood, with commas, where it has one.
        restores: Whether it restores images that it is given, so that none can be drawn from seeds alone.
        also: The same network under other settings of sampling, by its title with them.
    """

    name: str
    title: str
    model: str
    preset: str = "tiny"
    kimg: float
    fit: str = "native"
    settings: tuple[str, ...] = ()
    bounds: str = ""
    restores: bool = False
    also: Mapping[str, Mapping[str, object]] = dataclasses.field(default_factory=dict)

    @property
    def is_large(self) -> bool:
        """Whether it makes images of 32x32, which are large enough for the filters of equivariance."""
        return self.fit == "exact"

    def home(self, output: Path) -> Path:
        """Its folder: ``output``, or the one beside it for 32x32, which the quickstart does not measure."""
        return output.with_name(f"{output.name}32") if self.is_large else output

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its records: of its own numbers, and of those of enlargements by rule beside them."""
        own = tuple(named(title) for title in (self.title, *self.also))
        return (*own, *BASELINES) if self.restores else own


def named(title: str) -> str:
    """What the records of a title are named."""
    return f"{title} (reference)"


REFERENCES: Mapping[str, Reference] = {
    reference.name: reference
    for reference in (
        Reference(name="progan", title="ProGAN", model="progan", kimg=60),
        Reference(name="stylegan", title="StyleGAN", model="stylegan", kimg=90),
        Reference(name="stylegan2", title="StyleGAN2", model="stylegan2", kimg=50),
        # Margins wider than `tiny` has: what is shifted in must be computed outside the picture.
        Reference(
            name="stylegan3-t", title="StyleGAN3-T", model="stylegan3", kimg=65,
            settings=("generator.margin_size=4",),
        ),
        Reference(
            name="stylegan3-r", title="StyleGAN3-R", model="stylegan3", preset="tiny-r", kimg=52,
            settings=("generator.margin_size=4",),
        ),
        Reference(name="vdvae", title="VDVAE", model="vdvae", kimg=150, bounds=BOUNDS),
        Reference(name="nvae", title="NVAE", model="nvae", kimg=36, bounds=BOUNDS),
        # The first 200 kimg train its VAE.
        Reference(
            name="ncp-vae", title="NCP-VAE", model="ncp_vae", kimg=500, bounds=BOUNDS,
            also={"VAE of NCP-VAE": {"prior": "base"}},
        ),
        # Rotations need images larger than their filters.
        Reference(
            name="stylegan3-t-32", title="StyleGAN3-T 32x32", model="stylegan3", kimg=16, fit="exact",
            settings=("generator.margin_size=8",),
        ),
        Reference(
            name="stylegan3-r-32", title="StyleGAN3-R 32x32", model="stylegan3", preset="tiny-r", kimg=16,
            fit="exact", settings=("generator.margin_size=4",),
        ),
        Reference(name="stylegan2-32", title="StyleGAN2 32x32", model="stylegan2", kimg=24, fit="exact"),
        Reference(name="srflow", title="SRFlow x4", model="srflow", kimg=64, fit="exact", restores=True),
    )
}  # fmt: skip
