"""SRFlow's training against the official program: steps of Adam, rates, and all weights after the last."""

from __future__ import annotations

import pytest
import torch
from groups import Alone
from output_cases import OutputCase
from tensor_cases import names_of

from reference_models.srflow import convert
from reference_models.srflow.config import NetworkConfig
from reference_models.srflow.model import Network
from reference_models.srflow.recipe import Recipe
from reference_models.srflow.trainer import SRFlowTask
from reference_models.training.task import Iteration

HANDLES = ("srflow_train*",)

SIZES = ("scale", "nf", "nb", "gc", "K", "L", "n_noaff", "hidden", "quant")


@pytest.mark.parametrize("name", names_of("srflow_train*"))
def test_steps_of_training(name: str):
    case = OutputCase(name)
    facts, train, groups = case.facts, case.facts["train"], case.facts["optimizer_param_groups"]
    first = case["in.0.hr_uint8"]
    assert first.shape[2] == first.shape[3]
    config = NetworkConfig(
        **{size: case.hyper[size] for size in SIZES},
        blocks=tuple(case.hyper["blocks"]),
        img_resolution=first.shape[3],
        img_channels=first.shape[1],
    )
    network = Network(config)
    network.load_state_dict(convert.from_official(case.weights, config), strict=True)
    recipe = Recipe(
        batch=len(first),
        niter=train["niter"],
        lr_G=train["lr_G"],
        lr_gamma=train["lr_gamma"],
        # Milestones are given as iterations; the half keeps them where they are.
        lr_steps_rel=tuple((step + 0.5) / train["niter"] for step in train["lr_steps"]),
        encoder="always",
    )
    assert (train["weight_decay_G"], train["lr_scheme"], train["warmup_iter"]) == (0, "MultiStepLR", -1)
    assert all(facts["rrdb_trainable_per_step"])
    assert {tuple(group["betas"]) for group in groups} == {recipe.betas}
    task = SRFlowTask(network, recipe)
    losses, rates = [], []
    for index in range(facts["n_steps"]):
        at = Iteration(index=index, images=0, feed=None, rng=torch.Generator(), group=Alone())  # type: ignore[arg-type]
        hr, lr = (case[f"in.{index}.{part}_uint8"].float() / 255 for part in ("hr", "lr"))
        losses.append(task.step(hr, lr, at).loss)
        rates.append(task.optimisers["G"].param_groups[0]["lr"])
    case.compare("loss", lambda: torch.stack(losses))
    case.compare("lr", lambda: torch.tensor(rates))
    state = convert.to_official(network.state_dict(), config)
    case.compare(r"state\.(.+)", state.__getitem__)
    assert {group["lr"] for group in task.optimisers["G"].param_groups} == {group["lr"] for group in groups}
    assert facts["rrdb_parameters_changed_from_step_1"]
    case.finish()
