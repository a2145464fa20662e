"""A VAE with a noise contrastive prior as evaluations ask it: images of seeds, its bound, importance weights.

Paper: Aneja et al. 2021 (arXiv:2010.02917), sections 3.3 and 3.4. There is no official code. The bound is
that of the VAE, plus ``ln r`` of its latents, minus estimates of ``ln Z`` of each group given the latents
above it, from fresh draws of the base prior. Such an estimate is low on average, by about ``(M / ESS - 1) /
(2 M)`` a group for M draws, so that the bound looks too good where draws are few: say M with the number, and
compare two of them. Differs: every draw comes from the image's own seed; the temperature is one for all uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from evalkit.errors import UsageError
from reference_models.layers.checks import check_choice, check_positive, check_whole
from reference_models.layers.draws import Draws
from reference_models.layers.likelihood import LikelihoodModel
from reference_models.ncp_vae import prior as ncp
from reference_models.ncp_vae import sampling
from reference_models.ncp_vae.model import Network
from reference_models.nvae.distributions import decoder
from reference_models.nvae.evaluate import likelihood_of, to_levels
from reference_models.nvae.model import Choose, Inference
from reference_models.nvae.objective import inputs

_WHAT = "sampling"


class Model(LikelihoodModel):
    """A VAE behind the capabilities Samples and HasLikelihood.

    Settings: ``prior`` is ``ncp``, the reweighted one, or ``base``, the VAE's own; ``method`` is ``sir``
    (importance resampling of ``proposals`` draws) or ``langevin`` (``steps`` of ``step_size`` in standardised
    coordinates); ``temperature`` multiplies the sigma of the base priors; ``image`` is a ``sample`` of the
    decoder or its ``mean``; ``partition_draws`` are the M of the bound. 5,000 proposals and 1,000 steps are
    the largest numbers recalled of the paper's tables, not read again.
    """

    network: Network
    settings: ClassVar[Mapping[str, Any]] = {
        "temperature": 1.0,
        "prior": "ncp",
        "method": "sir",
        "proposals": 5000,
        "steps": 1000,
        "step_size": 0.01,
        "image": "sample",
        "partition_draws": 1000,
    }

    def check_sampling(self, sampling: Mapping[str, Any]) -> None:
        """Refuses values that cannot be.

        Raises:
            UsageError: One cannot.
        """
        super().check_sampling(sampling)
        check_choice(_WHAT, "prior", sampling["prior"], ("ncp", "base"))
        check_choice(_WHAT, "method", sampling["method"], ("sir", "langevin"))
        check_choice(_WHAT, "image", sampling["image"], ("sample", "mean"))
        for name in ("proposals", "steps", "partition_draws"):
            check_whole(_WHAT, name, sampling[name], 1, 10**6)
        check_positive(_WHAT, "step_size", sampling["step_size"])
        if sampling["method"] == "langevin" and sampling["temperature"] == 0:
            raise UsageError(
                "Langevin dynamics at temperature 0 have nowhere to go; give a temperature above 0, or "
                "method=sir"
            )

    @property
    def likelihood(self) -> Mapping[str, Any]:
        """That of an NVAE of the same images, `reference_models.nvae.evaluate.likelihood_of`."""
        found = likelihood_of(self.network.config.pixels)
        if self.sampling["prior"] == "base":
            return found
        num = self.sampling["partition_draws"]
        note = (
            f"partition functions are estimated from {num:,} draws a group of latents, too low on average: "
            "the number is a little too good"
        )
        return {**found, "note": "; ".join(each for each in (found["note"], note) if each)}

    def _sample(self, draws: Draws, num: int) -> Tensor:
        temperature = self.sampling["temperature"]
        logits = self.network.vae.top_down(self._chooser(draws), num, temperature=temperature)
        found = decoder(self.network.config.pixels, logits)
        return to_levels(found.mean() if self.sampling["image"] == "mean" else found.sample(draws))

    def _chooser(self, draws: Draws) -> Choose:
        given, log_r = self.sampling, self.network.log_r
        if given["prior"] == "base":
            return sampling.from_base(draws)
        if given["method"] == "sir":
            return sampling.by_resampling(log_r, draws, given["proposals"])
        return sampling.by_langevin(log_r, draws, given["steps"], given["step_size"])

    def _nats(self, images: Tensor, draws: Draws) -> Tensor:
        inference = self._explained(images, draws)
        return -self._reweighted(-inference.nelbo, inference, draws)

    def _log_weights(self, images: Tensor, draws: Draws) -> Tensor:
        inference = self._explained(images, draws)
        return self._reweighted(inference.log_weight, inference, draws)

    def _explained(self, images: Tensor, draws: Draws) -> Inference:
        return self.network.infer(inputs(images, self.network.config.pixels, draws), draws)

    def _reweighted(self, log_base: Tensor, inference: Inference, draws: Draws) -> Tensor:
        if self.sampling["prior"] == "base":
            return log_base
        num, log_r, log_z = self.sampling["partition_draws"], [], []
        for group, drawn in enumerate(inference.groups):
            log_r.append(self.network.log_r(group, drawn.z, drawn.context))
            eps = draws.normal((num, *drawn.z.shape[1:]))
            fresh = sampling.propose(self.network.log_r, group, drawn.context, drawn.prior, eps)
            log_z.append(ncp.log_partition(fresh.log_r).value)
        return ncp.log_weights(log_base, torch.stack(log_r, dim=1), torch.stack(log_z, dim=1))
