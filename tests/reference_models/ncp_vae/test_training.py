"""Both stages of training: what each moves, where one ends, and that they can be taken up again."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from feeds import RandomImages, train

from evalkit.errors import UsageError
from reference_models.catalog import make_task, wrap
from reference_models.ncp_vae.config import ClassifierConfig, FlatVaeConfig, NetworkConfig
from reference_models.ncp_vae.model import Network
from reference_models.ncp_vae.recipe import RECIPES, FlatRecipe, Recipe
from reference_models.ncp_vae.trainer import NCPTask
from reference_models.nvae import config as nvae
from reference_models.nvae.recipe import Recipe as NvaeRecipe
from reference_models.training import state

FLAT = NetworkConfig(
    img_channels=3,
    vae=FlatVaeConfig(num_latents=2, width=8, depth=1, num_mixture_dec=2),
    classifier=ClassifierConfig(width=8, depth=1),
)
DEEP = NetworkConfig(
    img_channels=3,
    vae=nvae.NetworkConfig(
        img_resolution=8,
        num_groups_per_scale=2,
        num_latent_per_group=2,
        num_channels_enc=4,
        num_channels_dec=4,
        num_preprocess_cells=1,
        num_postprocess_cells=1,
        num_mixture_dec=2,
    ),
    classifier=ClassifierConfig(width=4, depth=1, halvings=1),
)
RECIPE = {
    "flat": Recipe(vae_kimg=0.016, vae=FlatRecipe(batch=8), batch=4),
    "deep": Recipe(
        vae_kimg=0.016,
        vae=NvaeRecipe(batch=8, epochs=2, epoch_images=8, warmup_epochs=1),
        batch=4,
        mirror=True,
    ),
}
KINDS = {"flat": FLAT, "deep": DEEP}


def task_of(kind: str, recipe: Recipe | None = None) -> NCPTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NCPTask(Network(KINDS[kind]), recipe or RECIPE[kind])


def tensors_of(task: NCPTask) -> dict[str, torch.Tensor]:
    return copy.deepcopy(dict(task.network.state_dict()))


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("kind", KINDS)
def test_each_stage_moves_its_own_part_alone(kind: str):
    task, feed = task_of(kind), RandomImages(8)
    start = tensors_of(task)
    first = train(task, feed, range(2))
    between = tensors_of(task)
    assert moved(start, between) == {"vae"}
    assert "loss/nce" not in first[-1].values
    # An evaluation turns everything off; what follows turns on what it needs.
    wrap("ncp_vae", task.networks["G_ema"], label="in between")
    second = train(task, feed, range(2, 5), images=16)
    end = tensors_of(task)
    assert moved(between, end) == {"classifiers"}  # batch norms of the VAE included
    assert [each.images for each in (*first, *second)] == [8, 8, 4, 4, 4]
    values = second[0].values
    assert float(values["loss/nce"]) == pytest.approx(2 * torch.tensor(2.0).log().item(), rel=1e-6)
    assert 0 <= float(values["accuracy"]) <= 1
    assert float(values["ess"]) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_training_taken_up_again_is_the_same_training_on_both_sides_of_the_stages(kind: str):
    whole, feed = task_of(kind), RandomImages(8)
    kept = {}
    images = 0
    for index in range(6):
        kept[index] = (*copy.deepcopy(state.collect(whole)), feed.position, images)
        images += train(whole, feed, range(index, index + 1), images)[0].images
    wanted = state.collect(whole)[0]
    for index in (1, 2, 3):  # the first stage, its end, the second stage
        tensors, facts, position, images = kept[index]
        again, feed = task_of(kind), RandomImages(8)
        feed.position = position
        state.restore(again, tensors, facts, "kept")
        train(again, feed, range(index, 6), images)
        found = state.collect(again)[0]
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_every_classifier_is_a_group_of_the_optimiser_and_learns_alone():
    task = task_of("deep", Recipe(vae_kimg=0, vae=RECIPE["deep"].vae, batch=4))
    groups = task.optimisers["classifiers"].param_groups
    assert [len(each["params"]) for each in groups] == [
        len(list(each.parameters())) for each in task.network.classifiers
    ]
    together = copy.deepcopy(task)
    train(together, RandomImages(8), range(3))
    # Without the first, the second is trained as before.
    groups[0]["lr"] = 0.0
    task.optimisers["classifiers"].param_groups[0]["weight_decay"] = 0.0
    train(task, RandomImages(8), range(3))
    for (name, first), second in zip(
        together.network.classifiers[1].state_dict().items(),
        task.network.classifiers[1].state_dict().values(),
        strict=True,
    ):
        assert torch.equal(first, second), name


def test_a_classifier_finds_a_hole():
    # The posterior of a VAE that encodes every image near the same place is far from the prior.
    recipe = Recipe(vae_kimg=0, batch=128, learning_rate=0.01)
    task = NCPTask(Network(replace(FLAT, classifier=ClassifierConfig(width=32, depth=1))), recipe)
    with torch.no_grad():
        last = task.network.vae.encoder[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([1.5, -1.5, -2.0, -2.0]))
    reports = train(task, RandomImages(8), range(200))
    assert float(reports[-1].values["loss/nce"]) < 0.15
    assert float(reports[-1].values["accuracy"]) > 0.95
    model = wrap("ncp_vae", task.network, label="m").with_sampling(proposals=2000)
    found = []
    vae = task.network.vae

    def watched(choose: object, num: int, **settings: float) -> torch.Tensor:
        def chosen(group: int, context: torch.Tensor, prior: object) -> torch.Tensor:
            found.append(choose(group, context, prior))  # type: ignore[operator]
            return found[-1]

        return type(vae).top_down(vae, chosen, num, **settings)

    vae.top_down = watched  # type: ignore[method-assign]
    model.sample(torch.arange(16).numpy())
    z = torch.cat(found).flatten(1)
    # Draws of the base prior are this far from the posterior; those chosen are a third of it, and none of
    # them is where no posterior lies.
    centre = torch.tensor([1.5, -1.5])
    base = (torch.randn(10000, 2) - centre).norm(dim=1).mean()
    assert float((z - centre).norm(dim=1).mean()) < float(base) / 3
    assert bool(((z * centre.sign()) > 0.5).all())


def test_recipes_and_vaes_that_do_not_fit():
    with pytest.raises(UsageError, match=r"the network has a nvae VAE.*take the recipe of a preset"):
        NCPTask(Network(DEEP), RECIPE["flat"])
    with pytest.raises(UsageError, match=r"a batch of 6 images cannot be shared.*--set vae.batch=N"):
        Recipe(vae_kimg=1, vae=FlatRecipe(batch=6), batch=4).check_shares(4, 8)
    with pytest.raises(UsageError, match=r"vae_kimg is -1; give 0 or more"):
        Recipe(vae_kimg=-1)
    with pytest.raises(UsageError, match=r"kl_weight is 0; give a number above 0"):
        FlatRecipe(kl_weight=0)
    task = make_task(
        "ncp_vae", "tiny", img_resolution=8, overrides={"vae.batch": 16, "batch": 8, "mirror": True}
    )
    assert task.batch == 16
    assert task.recipe.vae.mirror
    for recipe in RECIPES.values():
        if isinstance(recipe.vae, NvaeRecipe):  # the first stage is as long as NVAE's own schedules
            assert recipe.vae_kimg * 1000 == recipe.vae.steps * recipe.vae.batch
