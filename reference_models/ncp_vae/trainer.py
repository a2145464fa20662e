"""How a VAE with a noise contrastive prior is trained: the VAE first, then classifiers on the frozen VAE.

Paper: Aneja et al. 2021 (arXiv:2010.02917), section 3.2 and figure 1. There is no official code. Which stage
an iteration belongs to is decided by the images seen before it, so that a resumed run changes stage where an
uninterrupted one does. In the second stage the VAE is in evaluation mode, batch norms included, and all
classifiers train at once, each by its own loss. Differs: nothing that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.convert.state import checked_state, shapes_of
from reference_models.layers.draws import BatchDraws
from reference_models.ncp_vae import objective
from reference_models.ncp_vae.flat_trainer import FlatTask
from reference_models.ncp_vae.flat_vae import FlatVae
from reference_models.ncp_vae.model import Network
from reference_models.ncp_vae.recipe import FlatRecipe, Recipe
from reference_models.nvae.objective import inputs
from reference_models.nvae.operations import BatchNorm
from reference_models.nvae.trainer import NVAETask
from reference_models.training.base import below, prefixed
from reference_models.training.likelihood import LikelihoodTask
from reference_models.training.precision import PrecisionPolicy
from reference_models.training.task import Iteration, Report

_T = TypeVar("_T")


class NCPTask(LikelihoodTask):
    """The network; the training of its VAE, and Adam of its classifiers.

    Attributes:
        stage1: The training of the VAE.
        optimisers: Those of the VAE's training, with ``vae_`` before their names, and ``classifiers``, with a
            group of parameters for each classifier.
    """

    model = "ncp_vae"
    averaged = False
    recipe: Recipe

    def __init__(self, network: Network, recipe: Recipe) -> None:
        """Takes a network of random weights, or one whose VAE is trained (`with_vae`).

        Raises:
            UsageError: The recipe is for a VAE of the other kind.
        """
        self.stage1 = _stage1(network, recipe)
        super().__init__(network, recipe)
        others = {name: part for name, part in self.stage1.networks.items() if part is not network.vae}
        self.networks = {**self.networks, **_of_vae(others)}
        self.batch = max(recipe.batch, recipe.vae.batch)
        self._opt = torch.optim.AdamW(
            [{"params": list(each.parameters())} for each in network.classifiers],
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
        )
        self.optimisers = {**_of_vae(self.stage1.optimisers), "classifiers": self._opt}
        self._classifiers: list[Any] = list(network.classifiers)

    # ------------------------------------------------------------------------------------------- state

    def set_precision(self, policy: PrecisionPolicy) -> None:
        """Sets the type of the passes of both stages."""
        super().set_precision(policy)
        self.stage1.set_precision(policy)

    def numbers(self) -> Mapping[str, float]:
        """State of the first stage, and the loss scale of the second."""
        return {**prefixed("vae/", self.stage1.numbers()), **super().numbers()}

    def restore_numbers(self, numbers: Mapping[str, float]) -> None:
        """Takes back what `numbers` returned."""
        super().restore_numbers(numbers)
        self.stage1.restore_numbers(below("vae/", numbers))

    def compile(self) -> None:
        """Compiles the VAE of the first stage, and the classifiers."""
        self.stage1.compile()
        self._classifiers = [torch.compile(each) for each in self.network.classifiers]

    # ----------------------------------------------------------------------------------- one iteration

    def iterate(self, iteration: Iteration) -> Report:
        """One step of the stage that the images seen say."""
        if iteration.images < 1000 * self.recipe.vae_kimg:
            return self.stage1.iterate(iteration)
        return self._contrast(iteration)

    def _contrast(self, iteration: Iteration) -> Report:
        network, recipe, group = self.network, self.recipe, iteration.group
        # Evaluations in between turn both off, and the first stage leaves the VAE as it needs it.
        network.vae.eval().requires_grad_(False)
        network.classifiers.train().requires_grad_(True)
        for module in network.classifiers.modules():
            if isinstance(module, BatchNorm):
                module.synchronised = group.size > 1
        images = objective.mirrored(iteration.feed.reals(recipe.batch).images, iteration.rng, recipe.mirror)
        draws = BatchDraws(len(images), iteration.rng)
        x = inputs(images, network.config.pixels, draws)
        with self.precision.first_order(x.device):
            with torch.no_grad():
                inference = network.infer(x, draws)
            negatives = [draws.normal(shape) for shape in network.latent_shapes]
            found = objective.contrast(self._log_r, inference, negatives)
        losses = torch.stack([each.loss.total for each in found])
        self._opt.zero_grad(set_to_none=True)
        # Classifiers share no weight, so that the sum gives each the gradient of its own loss.
        self.scaler.scale(losses.sum()).backward()  # type: ignore[no-untyped-call]
        parameters = list(network.classifiers.parameters())
        group.average_gradients(parameters)
        if self.scaler.unscale(parameters):
            self._opt.step()
        values: dict[str, Tensor | float] = {
            "loss/nce": losses.detach().mean(),
            "accuracy": torch.stack([each.accuracy for each in found]).mean(),
            "ess": torch.stack([each.ess for each in found]).mean(),
        }
        return Report(recipe.batch, values)

    def _log_r(self, group: int, z: Tensor, context: Tensor) -> Tensor:
        logits: Tensor = self._classifiers[group](z, context)
        return logits


def _stage1(network: Network, recipe: Recipe) -> FlatTask | NVAETask:
    if isinstance(network.vae, FlatVae) != isinstance(recipe.vae, FlatRecipe):
        raise UsageError(
            f"the network has a {type(network.vae).__module__.split('.')[1]} VAE, and the recipe is for "
            f"{type(recipe.vae).__module__}; take the recipe of a preset with that VAE"
        )
    if isinstance(network.vae, FlatVae):
        assert isinstance(recipe.vae, FlatRecipe)
        return FlatTask(network.vae, recipe.vae, recipe.vae_kimg)
    assert not isinstance(recipe.vae, FlatRecipe)
    return NVAETask(network.vae, recipe.vae)


def _of_vae(named: Mapping[str, _T]) -> dict[str, _T]:
    return {f"vae_{name}": value for name, value in named.items()}


def with_vae(network: Network, vae_state: Mapping[str, object]) -> Network:
    """Puts a trained VAE into a network, so that training can begin with the classifiers (``vae_kimg=0``).

    Args:
        network: Is changed, and returned.
        vae_state: The state dict of a VAE of the same sizes: ``network.vae.state_dict()``, or that of an
            NVAE.

    Raises:
        CheckpointError: Tensors are missing, left over (another number of groups has other names), of another
            shape, or not finite; it names them.
    """
    groups = len(network.latent_shapes)
    what = f"the VAE of the network, which has {groups} group{'s' if groups != 1 else ''} of latents"
    network.vae.load_state_dict(checked_state(vae_state, shapes_of(network.vae), what))
    return network


TASK = NCPTask
