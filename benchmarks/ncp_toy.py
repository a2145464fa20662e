"""Does a noise contrastive prior close a hole? A ring of latents under a normal prior, where all is known.

The aggregate posterior is a ring of narrow normals, whose density is known and almost 0 at the origin, where
the base prior has its mode. The classifier of `reference_models.ncp_vae` learns to tell draws of both, as in
the second stage of its training. On a grid the reweighted prior ``r p / Z`` is known too, and with it its KL
divergence; draws by importance resampling and by Langevin dynamics are held against the ring by the share of
them in each cell of a coarse grid.

    python benchmarks/ncp_toy.py

writes ``benchmarks/results/ncp_toy.md``, ``.json`` and ``.png``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common import RESULTS, machine, markdown, save
from evalkit.files import atomic_write
from reference_models.layers.draws import BatchDraws
from reference_models.ncp_vae import prior as ncp
from reference_models.ncp_vae import sampling
from reference_models.ncp_vae.classifier import Classifier
from reference_models.ncp_vae.config import ClassifierConfig
from reference_models.nvae.distributions import Normal

RADIUS, SPREAD, MODES = 1.8, 0.25, 16
EDGE, CELLS, COARSE = 5.0, 250, 25  # the grid is a square from -EDGE to EDGE
PROPOSALS = (1, 4, 16, 64, 256, 1024)
STEPS, STEP_SIZE = (10, 100, 1000), 0.01


class Trained(NamedTuple):
    """What training came to.

    Attributes:
        classifier: Of latents ``(n, 2, 1, 1)``.
        loss: Mean loss of its last tenth, in nats.
    """

    classifier: Classifier
    loss: float


def centres() -> Tensor:
    """Of the ring's normals, ``(MODES, 2)``."""
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    return RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)


def ring(num: int, rng: torch.Generator) -> Tensor:
    """Draws of the aggregate posterior, ``(num, 2)``."""
    chosen = torch.randint(MODES, (num,), generator=rng)
    return centres()[chosen] + SPREAD * torch.randn(num, 2, generator=rng)


def log_ring(z: Tensor) -> Tensor:
    """Log density of the aggregate posterior."""
    distances = ((z[:, None] - centres().to(z)) ** 2).sum(2)
    log_norm = math.log(2 * math.pi * SPREAD**2 * MODES)
    return (-distances / (2 * SPREAD**2)).logsumexp(1) - log_norm


def base(num: int) -> Normal:
    """The base prior of so many latents: NVAE's first one, of standard deviation 1.01."""
    nothing = torch.zeros(num, 2, 1, 1)
    return Normal(nothing, nothing)


def log_base(z: Tensor) -> Tensor:
    """Log density of the base prior."""
    found: Tensor = base(len(z)).log_density(z[:, :, None, None].float()).sum((1, 2, 3))
    return found.double()


def log_r_of(classifier: Classifier) -> sampling.LogR:
    """The classifier as samplers take it: one group, no context."""
    return lambda group, z, context: classifier(z, context)


def train(iterations: int, batch: int = 512, seed: int = 0) -> Trained:
    """A classifier that tells draws of the ring from draws of the base prior."""
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier((2, 1, 1), 0, ClassifierConfig(width=64, depth=2))
    optimiser = torch.optim.Adam(classifier.parameters(), lr=2e-3)
    prior, nothing, losses = base(batch), torch.zeros(batch, 0, 1, 1), []
    for iteration in range(iterations):
        optimiser.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * iteration / iterations))
        negatives = prior.sample(torch.randn(batch, 2, 1, 1, generator=rng))
        positives = ring(batch, rng)[:, :, None, None]
        loss = ncp.nce_loss(classifier(positives, nothing), classifier(negatives, nothing)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return Trained(
        classifier.eval().requires_grad_(False), sum(losses[-iterations // 10 :]) * 10 / iterations
    )


def grid() -> Tensor:
    """Middles of all cells, ``(CELLS^2, 2)``; the first coordinate changes slowest."""
    middles = (torch.arange(CELLS, dtype=torch.float64) + 0.5) * (2 * EDGE / CELLS) - EDGE
    return torch.cartesian_prod(middles, middles)


class Densities(NamedTuple):
    """Log densities at all cells of the grid.

    Attributes:
        ring: The aggregate posterior.
        base: The base prior.
        ncp: The reweighted prior.
        log_z: ``ln Z``, of the sum over the grid.
    """

    ring: Tensor
    base: Tensor
    ncp: Tensor
    log_z: float


def densities(classifier: Classifier) -> Densities:
    """What is known on the grid."""
    z = grid()
    log_r = classifier(z[:, :, None, None].float(), torch.zeros(len(z), 0, 1, 1)).double()
    log_p, area = log_base(z), (2 * EDGE / CELLS) ** 2
    log_z = float((log_p + log_r).logsumexp(0) + math.log(area))
    return Densities(log_ring(z), log_p, log_p + log_r - log_z, log_z)


def divergence(log_q: Tensor, log_p: Tensor) -> float:
    """KL(q || p) of densities on the grid, in nats."""
    return float((log_q.exp() * (log_q - log_p)).sum() * (2 * EDGE / CELLS) ** 2)


def smallest_loss(known: Densities) -> float:
    """Loss of the best classifier, in nats: 2 ln 2 less twice the Jensen-Shannon divergence of both."""
    log_mean = torch.logaddexp(known.ring, known.base) - math.log(2)
    return 2 * math.log(2) - divergence(known.ring, log_mean) - divergence(known.base, log_mean)


def coarse(log_density: Tensor) -> Tensor:
    """Probabilities of the cells of the coarse grid, ``(COARSE^2,)``."""
    inner = CELLS // COARSE
    cells = log_density.exp().reshape(COARSE, inner, COARSE, inner).sum((1, 3)).flatten()
    return cells / cells.sum()


def divergence_of_draws(probabilities: Tensor, z: Tensor) -> float:
    """KL of the ring from draws, on the coarse grid, in nats; every cell has half a draw more."""
    place = ((z + EDGE) * (COARSE / (2 * EDGE))).long().clamp(0, COARSE - 1)
    counts = torch.bincount(place[:, 0] * COARSE + place[:, 1], minlength=COARSE**2).double() + 0.5
    shares = counts / counts.sum()
    return float((probabilities * (probabilities.clamp(min=1e-300) / shares).log()).sum())


def resampled(classifier: Classifier, num: int, proposals: int, seed: int = 1) -> Tensor:
    """Draws by importance resampling, ``(num, 2)``."""
    draws = BatchDraws(num, torch.Generator().manual_seed(seed))
    choose = sampling.by_resampling(log_r_of(classifier), draws, proposals)
    return choose(0, torch.zeros(num, 0, 1, 1), base(num)).flatten(1)


def walked(classifier: Classifier, num: int, steps: int, seed: int = 1) -> Tensor:
    """Draws by Langevin dynamics, ``(num, 2)``."""
    draws = BatchDraws(num, torch.Generator().manual_seed(seed))
    choose = sampling.by_langevin(log_r_of(classifier), draws, steps, STEP_SIZE)
    return choose(0, torch.zeros(num, 0, 1, 1), base(num)).flatten(1)


def draw(path: Path, known: Densities, samples: Mapping[str, Tensor]) -> None:
    """Draws densities above, and draws below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 3)
    shown = {
        "aggregate posterior": known.ring,
        "base prior": known.base,
        "reweighted prior": known.ncp,
    }
    brightest = float(known.ring.exp().max())
    for axes, (title, log_density) in zip(panels[0], shown.items(), strict=True):
        picture = log_density.exp().reshape(CELLS, CELLS).T
        axes.imshow(
            picture, origin="lower", extent=(-EDGE, EDGE, -EDGE, EDGE), vmax=brightest, cmap="viridis"
        )
        axes.set_title(title, fontsize=10)
    for axes, (title, z) in zip(panels[1], samples.items(), strict=True):
        axes.scatter(z[:2000, 0], z[:2000, 1], s=2, alpha=0.5)
        axes.set_title(title, fontsize=10)
    for axes in panels.flat:
        axes.set_xlim(-3.5, 3.5)
        axes.set_ylim(-3.5, 3.5)
        axes.set_aspect("equal")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=90)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, measures, and files the tables and the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=6000, help="of training")
    parser.add_argument("--num", type=int, default=20000, help="draws of each way of sampling")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the tables")
    arguments = parser.parse_args(argv)
    num = arguments.num
    trained = train(arguments.iterations)
    known = densities(trained.classifier)
    target = coarse(known.ring)
    before, after = divergence(known.ring, known.base), divergence(known.ring, known.ncp)
    optimum = smallest_loss(known)
    log_r = sampling.propose(
        log_r_of(trained.classifier), 0, torch.zeros(1, 0, 1, 1), base(1),
        torch.randn(1, num, 2, 1, 1, generator=torch.Generator().manual_seed(2)),
    ).log_r[0]  # fmt: skip
    estimate = ncp.log_partition(log_r)
    samples = {
        "the ring itself": ring(num, torch.Generator().manual_seed(3)),
        **{f"resampling, M = {count}": resampled(trained.classifier, num, count) for count in PROPOSALS},
        **{f"Langevin, {steps} steps": walked(trained.classifier, num, steps) for steps in STEPS},
    }
    values = {title: divergence_of_draws(target, z) for title, z in samples.items()}
    facts: dict[str, Any] = {
        "kl_before": before,
        "kl_after": after,
        "nce_loss": trained.loss,
        "nce_optimum": optimum,
        "log_z_grid": known.log_z,
        "log_z_estimate": float(estimate.value),
        "log_z_standard_error": float(estimate.standard_error),
        "ess_share": float(ncp.effective_sample_size(log_r)) / num,
        "draws": values,
    }
    rows = [[title, f"{value:.3f}"] for title, value in values.items()]
    text = f"""# A hole in a prior, and a noise contrastive prior that closes it

The aggregate posterior is a ring of {MODES} normals of spread {SPREAD} at distance {RADIUS} from the origin;
the base prior is N(0, 1.01² I). A classifier of `reference_models.ncp_vae` was trained for
{arguments.iterations:,} steps.

KL(aggregate posterior || prior), by sums over a grid of {CELLS} x {CELLS} cells: **{before:.3f} nats before,
{after:.4f} after**. The loss of the classifier is {trained.loss:.4f} nats, that of the best one
{optimum:.4f}. ln Z is {known.log_z:.4f} on the grid and {float(estimate.value):.4f} ±
{float(estimate.standard_error):.4f} from {num:,} draws, whose effective sample size is
{facts["ess_share"]:.0%} of them.

![densities and draws](ncp_toy.png)

KL(aggregate posterior || draws) on a grid of {COARSE} x {COARSE} cells, {num:,} draws each; M = 1 is the base
prior:

{markdown(["draws", "KL, nats"], rows)}

Langevin dynamics have steps of {STEP_SIZE} from the base prior on, and are not corrected for their step size.

{machine()}; `python benchmarks/ncp_toy.py`.
"""
    arguments.output.mkdir(parents=True, exist_ok=True)
    titles = ("the ring itself", f"resampling, M = {PROPOSALS[-1]}", f"Langevin, {STEPS[-1]} steps")
    draw(arguments.output / "ncp_toy.png", known, {title: samples[title] for title in titles})
    save(arguments.output, "ncp_toy", text, facts)


if __name__ == "__main__":
    main()
