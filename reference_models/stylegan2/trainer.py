"""How StyleGAN2 and its successors are trained: alternating phases, lazy regularisation, ADA, an averaged G.

Papers: Karras et al. 2020a (arXiv:1912.04958), section 3.1 (lazy regularisation) and 3.2; Karras et al. 2020b
(arXiv:2006.06676), section 3 (ADA); Karras et al. 2018 (the average of the generator). Official:
NVlabs/stylegan3@c233a91, training/training_loop.py and training/loss.py. Deviations: micro-batches enter by
their share of the batch, so that ``batch_gpu`` scales no gradient (the official code adds their means);
styles are mixed by one draw an iteration and process, not one a micro-batch; a regularisation without an
interval is a phase of its own; running means (w, magnitudes, path lengths) are averaged over processes, of
which each has its own there; regularisation always runs in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reference_models.layers.mapping import StyleGenerator
from reference_models.stylegan2 import objective
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.generator import Generator
from reference_models.stylegan2.recipe import Recipe
from reference_models.training import ema
from reference_models.training.adversarial import AdversarialTask
from reference_models.training.augmentation.ada import AdaController
from reference_models.training.augmentation.config import SETS
from reference_models.training.augmentation.pipeline import AugmentPipe
from reference_models.training.base import below, prefixed
from reference_models.training.optimisers import clip_gradients, lazy, sanitise_gradients
from reference_models.training.task import Group, Iteration, Reals, Report

# Running means that every process keeps for itself within an iteration.
_RUNNING = ("w_avg", "magnitude_ema")


class Latents(NamedTuple):
    """What a phase turns into images: a batch, or a micro-batch of it.

    Attributes:
        z: ``(n, z_dim)``.
        c: One-hot ``(n, c_dim)``, or None.
        mixing: Second latents and crossover, or None.
    """

    z: Tensor
    c: Tensor | None
    mixing: objective.Mixing | None

    def part(self, start: int, stop: int) -> Latents:
        """Some of the rows."""
        mixing = self.mixing
        return Latents(
            self.z[start:stop],
            None if self.c is None else self.c[start:stop],
            None if mixing is None else objective.Mixing(mixing.z[start:stop], mixing.cutoff),
        )


class PhasedTask(AdversarialTask):
    """One generator and one discriminator in turn, as StyleGAN2 and StyleGAN3 are trained.

    Attributes:
        optimisers: ``G`` and ``D``.
    """

    model = "stylegan2"
    G_class: type[nn.Module] = Generator  # StyleGAN3 has another one
    D_class = Discriminator
    mirror_doubles = True
    recipe: Recipe

    def __init__(self, generator: Any, discriminator: nn.Module, recipe: Recipe) -> None:  # noqa: ANN401
        """Takes networks of random weights."""
        super().__init__(generator, discriminator, recipe)
        self.batch = recipe.batch
        self.pipe = AugmentPipe(SETS[recipe.augment]) if recipe.augment != "none" else None
        self.ada = AdaController(
            p=recipe.augment_p,
            target=0.6 if recipe.ada_target is None else recipe.ada_target,
            kimg=recipe.ada_kimg,
            interval=recipe.ada_interval,
        )
        self.path_length_mean = torch.zeros(())
        self._compiled_G: Any = self.G
        self._compiled_D: Callable[..., Tensor] = self.D
        lr, betas = lazy(recipe.G_lrate, recipe.betas, recipe.G_reg_interval)
        opt_G = torch.optim.Adam(self.G.parameters(), lr, betas, eps=1e-8)
        lr, betas = lazy(recipe.D_lrate, recipe.betas, recipe.D_reg_interval)
        opt_D = torch.optim.Adam(self.D.parameters(), lr, betas, eps=1e-8)
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {"G": opt_G, "D": opt_D}

    # ------------------------------------------------------------------------------------------- state

    def to(self, device: torch.device) -> None:
        """Moves networks and state."""
        super().to(device)
        if self.pipe is not None:
            self.pipe.to(device)
        self.path_length_mean = self.path_length_mean.to(device)

    def numbers(self) -> Mapping[str, float]:
        """The running path length, ADA's state and the loss scale."""
        return {
            "path_length_mean": float(self.path_length_mean),
            **prefixed("ada/", self.ada.numbers()),
            **super().numbers(),
        }

    def restore_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` returned."""
        super().restore_numbers(numbers)
        self.path_length_mean.fill_(numbers["path_length_mean"])
        self.ada.restore_numbers(below("ada/", numbers))

    def compile(self) -> None:
        """Compiles the passes of first order; those of second order cannot be."""
        self._compiled_D = torch.compile(self.D)
        compiled: Any = copy.copy(self.G)  # shares parameters and buffers, but not the table of parts
        compiled._modules = dict(self.G._modules)
        compiled.synthesis = torch.compile(self.G.synthesis)
        self._compiled_G = compiled

    # ----------------------------------------------------------------------------------- one iteration

    def iterate(self, iteration: Iteration) -> Report:
        """G main, G regularisation, D main, D regularisation (where they are due), average, ADA."""
        recipe, group, rng = self.recipe, iteration.group, iteration.rng
        reals = iteration.feed.reals(recipe.batch)
        num = len(reals.images)
        real = reals.images.float() / 127.5 - 1
        phases: list[tuple[str, Callable[..., Tensor], float]] = [("G", self._G_main, 1.0)]
        if recipe.pl_weight > 0 and iteration.index % (recipe.G_reg_interval or 1) == 0:
            phases.append(("G", self._G_reg, float(recipe.G_reg_interval or 1)))
        phases.append(("D", self._D_main, 1.0))
        if recipe.r1_gamma > 0 and iteration.index % (recipe.D_reg_interval or 1) == 0:
            phases.append(("D", self._D_reg, float(recipe.D_reg_interval or 1)))
        latents = [self._draw(num, iteration) for _ in phases]
        log: dict[str, list[Tensor]] = {}
        sigma = self.blur_sigma(iteration.images)
        for (name, phase, gain), drawn in zip(phases, latents, strict=True):
            self._step(name, phase, gain, Reals(real, reals.labels), drawn, sigma, group, rng, log)
        for network in (self.G, self.D):
            group.average_buffers(network, _RUNNING)
        self.path_length_mean = group.mean(self.path_length_mean)
        beta = ema.half_life_beta(recipe.batch, recipe.ema_half_life, recipe.ema_rampup, iteration.images)
        ema.update(self.G_ema, self.G, beta)
        values: dict[str, Tensor | float] = {name: torch.stack(each).mean() for name, each in log.items()}
        if self.pipe is not None:
            if recipe.ada_target is not None:
                self.ada.adjust(recipe.batch, group)
            values["augment/p"] = self.ada.p
        return Report(recipe.batch, values)

    def blur_sigma(self, images: int) -> float:
        """Sigma of the blur of what D sees, after so many images; StyleGAN2 has none."""
        del images
        return 0.0

    def generate(
        self,
        generator: StyleGenerator,
        drawn: Latents,
        rng: torch.Generator,
        update_emas: bool,
    ) -> objective.Fake:
        """Images of G as training sees them."""
        return objective.generate(
            generator, drawn.z, drawn.c, mixing=drawn.mixing, noise=rng, update_emas=update_emas
        )

    def _draw(self, num: int, iteration: Iteration) -> Latents:
        rng = iteration.rng
        z = torch.randn(num, self.G.z_dim, generator=rng, device=rng.device)
        c = iteration.feed.labels(num, rng)
        if self.recipe.style_mixing_prob == 0:
            return Latents(z, c, None)
        second = torch.randn(num, self.G.z_dim, generator=rng, device=rng.device)
        coin = float(torch.rand((), generator=rng, device=rng.device))
        index = int(torch.randint(1, self.G.num_ws, (), generator=rng, device=rng.device))
        cutoff = objective.mixing_cutoff(coin, index, self.G.num_ws, self.recipe.style_mixing_prob)
        return Latents(z, c, objective.Mixing(second, cutoff))

    def _step(
        self,
        name: str,
        phase: Callable[..., Tensor],
        gain: float,
        reals: Reals,
        drawn: Latents,
        sigma: float,
        group: Group,
        rng: torch.Generator,
        log: dict[str, list[Tensor]],
    ) -> None:
        network, optimiser = self.networks[name], self.optimisers[name]
        parameters = list(network.parameters())
        optimiser.zero_grad(set_to_none=True)
        network.requires_grad_(True)
        num = len(reals.images)
        for start, stop in _micro_batches(num, self.recipe.batch_gpu):
            part = Reals(reals.images[start:stop], None if reals.labels is None else reals.labels[start:stop])
            loss = phase(part, drawn.part(start, stop), sigma, rng, log)
            self.scaler.scale(loss.mean() * (gain * (stop - start) / num)).backward()  # type: ignore[no-untyped-call]
        network.requires_grad_(False)
        group.average_gradients(parameters)
        if self.scaler.unscale(parameters):
            sanitise_gradients(parameters)
            if self.recipe.max_grad_norm is not None:
                clip_gradients(parameters, self.recipe.max_grad_norm)
            optimiser.step()

    def _judge(self, discriminator: Callable[..., Tensor], rng: torch.Generator) -> Callable[..., Tensor]:
        # What D is shown: augmented images. The blur has been there before. Losses are taken in float32.
        def judge(images: Tensor, c: Tensor | None) -> Tensor:
            if self.pipe is not None:
                images = self.pipe(images.float(), p=self.ada.p, generator=rng)
            return discriminator(images, c).float()

        return judge

    def _G_main(
        self, reals: Reals, drawn: Latents, sigma: float, rng: torch.Generator, log: dict[str, list[Tensor]]
    ) -> Tensor:
        del reals
        with self.precision.first_order(drawn.z.device):
            fake = self.generate(self._compiled_G, drawn, rng, False)
            found = objective.generator_loss(
                self._judge(self._compiled_D, rng), fake.img, drawn.c, blur_sigma=sigma
            )
        _note(log, "loss/G", found.loss)
        return found.loss

    def _G_reg(
        self, reals: Reals, drawn: Latents, sigma: float, rng: torch.Generator, log: dict[str, list[Tensor]]
    ) -> Tensor:
        del reals, sigma
        drawn = drawn.part(0, max(len(drawn.z) // objective.PATH_LENGTH_BATCH_SHRINK, 1))
        fake = self.generate(self.G, drawn, rng, False)
        noise = torch.randn(fake.img.shape, generator=rng, device=rng.device)
        found = objective.path_length_loss(fake, noise, self.path_length_mean, weight=self.recipe.pl_weight)
        self.path_length_mean = found.mean
        _note(log, "loss/path_length", found.penalty)
        return found.loss

    def _D_main(
        self, reals: Reals, drawn: Latents, sigma: float, rng: torch.Generator, log: dict[str, list[Tensor]]
    ) -> Tensor:
        with self.precision.first_order(drawn.z.device):
            with torch.no_grad():
                fake = self.generate(self._compiled_G, drawn, rng, True)
            found = objective.discriminator_loss(
                self._judge(self._compiled_D, rng),
                fake.img,
                reals.images,
                drawn.c,
                reals.labels,
                blur_sigma=sigma,
            )
        self.ada.observe(found.real_logits)
        _note(log, "loss/D", found.loss)
        _note(log, "scores/real", found.real_logits)
        _note(log, "scores/fake", found.fake_logits)
        _note(log, "signs/real", found.real_logits.sign())
        return found.loss

    def _D_reg(
        self, reals: Reals, drawn: Latents, sigma: float, rng: torch.Generator, log: dict[str, list[Tensor]]
    ) -> Tensor:
        del drawn
        found = objective.r1_loss(
            self._judge(self.D, rng),
            reals.images,
            reals.labels,
            gamma=self.recipe.r1_gamma,
            blur_sigma=sigma,
        )
        self.ada.observe(found.logits)
        _note(log, "loss/R1", found.penalty)
        return found.loss


def _note(log: dict[str, list[Tensor]], name: str, value: Tensor) -> None:
    log.setdefault(name, []).append(value.detach().float().mean())


def _micro_batches(num: int, size: int | None) -> Iterator[tuple[int, int]]:
    step = num if size is None else size
    for start in range(0, num, step):
        yield start, min(start + step, num)


TASK = PhasedTask
