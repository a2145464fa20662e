"""Trainers of models in pairs: what an iteration does, that it can be taken up again, what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from feeds import RandomImages, train

from evalkit.errors import UsageError
from reference_models.catalog import MODELS, make_task, part, presets
from reference_models.training.precision import PrecisionPolicy

PAIRS = [name for name, entry in MODELS.items() if not entry.likelihood]
SMALL = {
    "progan": {"generator.fmap_max": 8, "discriminator.fmap_max": 8, "schedule.minibatch_base": 8},
    "stylegan": {"generator.fmap_max": 8, "discriminator.fmap_max": 8, "schedule.minibatch_base": 8},
    "stylegan2": {"generator.channel_max": 8, "discriminator.channel_max": 8, "batch": 8},
    "stylegan3": {
        "generator.channel_max": 8,
        "generator.num_layers": 3,
        "generator.margin_size": 2,
        "discriminator.channel_max": 8,
        "batch": 8,
    },
}
EVERYTHING = {  # every part of an iteration that has a state
    "progan": {"mirror": True, "schedule.lod_training_kimg": 0.016, "schedule.lod_transition_kimg": 0.04},
    "stylegan": {
        "style_mixing_prob": 0.9,
        "schedule.lod_training_kimg": 0.016,
        "schedule.lod_transition_kimg": 0.04,
    },
    "stylegan2": {
        "style_mixing_prob": 0.9,
        "pl_weight": 2.0,
        "D_reg_interval": 3,
        "G_reg_interval": 2,
        "augment": "bgc",
        "ada_kimg": 0.1,
    },
    "stylegan3": {"augment": "bgc", "augment_p": 0.3, "blur_init_sigma": 1.0, "blur_fade_kimg": 0.1},
}


def task_of(model: str, c_dim: int = 0, **more: object):
    overrides = {**SMALL[model], **more}
    return make_task(model, "tiny", img_resolution=8, c_dim=c_dim, overrides=overrides)


def weights(task) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in task.networks.items()
        for key, value in network.state_dict().items()
    }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("model", MODELS)
def test_every_preset_has_a_recipe(model: str):
    assert set(part(model, "recipe").RECIPES) == set(presets(model))


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("model", PAIRS)
def test_training_taken_up_again_is_the_same_training(model: str, c_dim: int):
    whole, feed = task_of(model, c_dim, **EVERYTHING[model]), RandomImages(8, c_dim)
    images = sum(report.images for report in train(whole, feed, range(4)))
    kept = (
        copy.deepcopy({name: net.state_dict() for name, net in whole.networks.items()}),
        copy.deepcopy({name: each.state_dict() for name, each in whole.optimisers.items()}),
        dict(whole.numbers()),
        feed.position,
    )
    train(whole, feed, range(4, 7), images)

    again, feed = task_of(model, c_dim, **EVERYTHING[model]), RandomImages(8, c_dim)
    networks, optimisers, numbers, feed.position = kept
    for name, network in again.networks.items():
        network.load_state_dict(networks[name])
    for name, optimiser in again.optimisers.items():
        optimiser.load_state_dict(optimisers[name])
    again.restore_numbers(numbers)
    train(again, feed, range(4, 7), images)
    assert same(weights(whole), weights(again))
    assert whole.numbers() == again.numbers()


@pytest.mark.parametrize("model", PAIRS)
def test_all_networks_learn_and_every_loss_is_finite(model: str):
    task = task_of(model, **EVERYTHING[model])
    before = weights(task)
    reports = train(task, RandomImages(8), range(3))
    after = weights(task)
    for name in task.networks:
        assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith(f"{name}."))
    values = [float(value) for report in reports for value in report.values.values()]
    assert values
    assert all(map(math.isfinite, values))
    assert {"loss/G", "loss/D", "scores/real", "scores/fake"} <= set(reports[0].values)


def test_phases_come_when_they_are_due():
    task = task_of("stylegan2", pl_weight=2.0, G_reg_interval=2, D_reg_interval=3)
    found = [set(report.values) for report in train(task, RandomImages(8), range(7))]
    assert [index for index, names in enumerate(found) if "loss/path_length" in names] == [0, 2, 4, 6]
    assert [index for index, names in enumerate(found) if "loss/R1" in names] == [0, 3, 6]


def test_the_corrections_for_lazy_regularisation_reach_the_optimisers():
    task = task_of("stylegan2", G_lrate=0.002, D_lrate=0.004, G_reg_interval=4, D_reg_interval=16)
    groups = {name: each.param_groups[0] for name, each in task.optimisers.items()}
    assert groups["G"]["lr"] == pytest.approx(0.002 * 4 / 5)
    assert groups["D"]["lr"] == pytest.approx(0.004 * 16 / 17)
    assert groups["D"]["betas"][1] == pytest.approx(0.99 ** (16 / 17))


def test_micro_batches_change_no_gradient():
    # Without what couples the samples of a batch, and without Adam's division by tiny roots.
    def gradients(batch_gpu: int | None) -> dict[str, torch.Tensor]:
        task = task_of(
            "stylegan2",
            batch_gpu=batch_gpu,
            augment="none",
            **{"discriminator.mbstd_num_channels": 0, "generator.use_noise": False},
        )
        for each in task.optimisers.values():
            each.step = lambda: None
        train(task, RandomImages(8), range(1, 2))
        return {name: p.grad for name, p in task.networks["D"].named_parameters()}

    whole, parts = gradients(None), gradients(2)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


def test_compiling_leaves_the_networks_as_they_are():
    task = task_of("stylegan2")
    names, synthesis = list(task.G.state_dict()), task.G.synthesis
    task.compile()
    assert task.G.synthesis is synthesis  # path lengths need second derivatives, which compiled parts lack
    assert list(task.G.state_dict()) == names


def test_the_average_starts_as_the_generator():
    task = task_of("stylegan2")
    train(task, RandomImages(8), range(1))  # the ramp-up leaves a half-life of nothing
    for name, value in task.networks["G"].state_dict().items():
        assert torch.equal(task.networks["G_ema"].state_dict()[name], value)


def test_growing_resets_the_optimisers_where_a_fade_begins_and_ends():
    task = task_of(
        "progan",
        **{
            "schedule.lod_training_kimg": 0.016,
            "schedule.lod_transition_kimg": 0.016,
            "minibatch_repeats": 1,
        },
    )
    steps, feed = [], RandomImages(8)
    for index in range(6):  # 8 images each: the fade begins after 16 and ends at 32
        train(task, feed, range(index, index + 1), 8 * index)
        steps.append(float(next(iter(task.optimisers["G"].state.values()))["step"]))
    assert steps == [1, 2, 3, 1, 1, 2]


def test_augmentation_grows_while_d_is_sure_of_the_data():
    task = task_of("stylegan2", augment="bgc", ada_kimg=0.064, ada_target=-1.0, ada_interval=1)
    train(task, RandomImages(8), range(4))
    assert task.numbers()["ada/p"] == pytest.approx(4 * 8 / 64)


@pytest.mark.parametrize("model", PAIRS)
def test_bfloat16_stays_near_float32(model: str):
    losses = []
    for name in ("float32", "bf16"):
        task = task_of(model)
        task.set_precision(PrecisionPolicy(name))
        (report,) = train(task, RandomImages(8), range(1))
        losses.append(float(report.values["loss/G"]))
        assert all(p.dtype == torch.float32 for net in task.networks.values() for p in net.parameters())
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], abs=0.05)


def test_float16_needs_a_gpu():
    with pytest.raises(UsageError, match="fp16 trains on GPUs alone; give --precision bf16 or float32"):
        PrecisionPolicy("fp16").first_order(torch.device("cpu"))
    with pytest.raises(UsageError, match="precision is 'half'"):
        PrecisionPolicy("half")


@pytest.mark.parametrize(
    ("model", "overrides", "message"),
    [
        ("stylegan2", {"r1_gama": 1.0}, r"has no field 'r1_gama' \(nearest: r1_gamma"),
        ("stylegan2", {"generator.chanel_max": 8}, r"no field 'chanel_max' \(nearest: channel_max"),
        ("stylegan2", {"batch": 0}, "batch is 0; give a whole number from 1"),
        ("stylegan2", {"style_mixing_prob": 1.5}, "style_mixing_prob is 1.5; give 0 to 1"),
        ("stylegan2", {"betas": (0.0, 1.0)}, "betas is .*; give two numbers from 0 to below 1"),
        ("stylegan2", {"betas": 1}, "betas is 1; give two numbers"),
        ("stylegan2", {"betas": ("a", "b")}, "betas is .*; give two numbers"),
        (
            "stylegan2",
            {"generator": 1},
            r"generator is a network; change a field of it: generator.NAME=VALUE",
        ),
        (
            "progan",
            {"schedule": 5},
            r"schedule has fields of its own; give schedule.NAME=VALUE.*minibatch_base",
        ),
        ("stylegan2", {"augment": "bcg"}, r"augment is 'bcg' \(nearest: bg, bgc"),
        ("stylegan3", {"blur_init_sigma": -1.0}, "blur_init_sigma is -1.0; give 0 or more"),
        (
            "progan",
            {"schedule.lod_trainig_kimg": 1.0},
            r"no field 'lod_trainig_kimg' \(nearest: lod_training",
        ),
        ("progan", {"ema_beta": 2.0}, "ema_beta is 2.0; give 0 to 1"),
        ("stylegan", {"loss": "hinge"}, "loss is 'hinge' .*accepted are logistic, wgan-gp"),
    ],
)
def test_recipes_that_cannot_be_are_refused(model: str, overrides: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message):
        make_task(model, "tiny", overrides=overrides)


@pytest.mark.parametrize("model", PAIRS)
def test_an_unknown_preset_is_refused(model: str):
    with pytest.raises(UsageError, match=r"has no preset 'tinny' \(nearest: tiny"):
        make_task(model, "tinny")


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(UsageError, match="a batch of 16 images cannot be shared evenly by 3 processes"):
        make_task("stylegan2", "tiny", num_gpus=3)


def test_a_minibatch_of_a_later_stage_is_refused_before_training():
    with pytest.raises(UsageError, match="minibatch at resolution 512 is 4, and 8 processes share it"):
        make_task("stylegan", "ffhq1024", num_gpus=8)
    assert make_task("progan", "tiny", num_gpus=8).batch == 32
