"""SRFlow's trainer: what a step moves, the first batch, the schedules, and that it can be taken up again."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from feeds import RandomImages, train
from groups import Alone

from evalkit.errors import UsageError
from evalkit.imaging.resize_matlab import downscale
from reference_models.catalog import make_task
from reference_models.layers.flow import ActNorm
from reference_models.srflow.recipe import RECIPES, Recipe
from reference_models.srflow.trainer import SRFlowTask
from reference_models.training import state
from reference_models.training.config import EvalSpec, RunConfig
from reference_models.training.loop import train as train_run
from reference_models.training.start import prepare

SMALL = {
    "network.nf": 4,
    "network.nb": 1,
    "network.gc": 2,
    "network.blocks": (0,),
    "network.K": 1,
    "network.hidden": 4,
    "batch": 4,
}


def task_of(preset: str = "tiny", side: int = 16, **more: object) -> SRFlowTask:
    small = SMALL if preset == "tiny" else {"network.K": 1, "network.hidden": 4, "batch": 4}
    task = make_task("srflow", preset, img_resolution=side, overrides={**small, **more})
    assert isinstance(task, SRFlowTask)
    return task


def tensors_of(task: SRFlowTask) -> dict[str, torch.Tensor]:
    return copy.deepcopy(state.collect(task)[0])


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], part: str) -> bool:
    return any(
        not torch.equal(before[name], after[name]) for name in before if f"/{part}." in name and name in after
    )


@pytest.mark.parametrize("preset", ["tiny", "tiny-glow"])
def test_training_taken_up_again_is_the_same_training(preset: str):
    more = {"mirror": True, "niter": 6, **({"encoder": "lazy"} if preset == "tiny" else {})}
    whole, feed = task_of(preset, **more), RandomImages(16)
    train(whole, feed, range(3))
    tensors, facts = state.collect(whole)
    tensors, facts, position = copy.deepcopy(tensors), copy.deepcopy(facts), feed.position
    train(whole, feed, range(3, 6))

    again, feed = task_of(preset, **more), RandomImages(16)
    feed.position = position
    state.restore(again, tensors, facts, "kept")
    train(again, feed, range(3, 6))
    found, wanted = tensors_of(again), tensors_of(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_first_batch_standardises_every_normalisation_once():
    task = task_of(lr_G=1e-12)
    seen: dict[int, torch.Tensor] = {}
    norms = [each for each in task.network.modules() if isinstance(each, ActNorm)]
    assert not any(bool(each.bias.any()) for each in norms)

    def keep(module: torch.nn.Module, given: object, out: tuple[torch.Tensor, torch.Tensor]) -> None:
        seen.setdefault(id(module), out[0])

    for each in norms:
        each.register_forward_hook(keep)
    train(task, RandomImages(16), range(1))
    assert all(bool(each.bias.any()) for each in norms)
    for out in seen.values():  # those of the flow itself; in its networks they are no layers
        torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(out.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            out.std((0, 2, 3), correction=0), torch.ones(out.shape[1]), atol=1e-3, rtol=0
        )
    first = [each.bias.clone() for each in norms]
    train(task, RandomImages(16, num=8), range(1, 2))
    for bias, each in zip(first, norms, strict=True):
        torch.testing.assert_close(each.bias, bias, atol=1e-9, rtol=1e-6)


def test_a_lazy_encoder_is_frozen_for_the_first_half():
    task = task_of(encoder="lazy", niter=4)
    before = tensors_of(task)
    train(task, RandomImages(16), range(2))
    half = tensors_of(task)
    assert not moved(before, half, "RRDB.conv_first")
    assert moved(before, half, "flowUpsamplerNet.layers.1.invconv")
    train(task, RandomImages(16), range(2, 3))
    assert moved(half, tensors_of(task), "RRDB.conv_first")


def test_an_encoder_trained_always_moves_from_the_first_step():
    task = task_of()
    before = tensors_of(task)
    train(task, RandomImages(16), range(2))  # couplings begin as zero, so that the first has no gradient
    assert moved(before, tensors_of(task), "RRDB.conv_first")


def test_rates_fall_with_the_step_that_reaches_a_milestone():
    recipe = Recipe(niter=100, lr_G=1.0)
    assert [recipe.lr_at(index) for index in (0, 48, 49, 73, 74, 88, 89, 93, 94, 99)] == [
        1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625,
    ]  # fmt: skip
    lazy = Recipe(niter=100, encoder="lazy")
    assert [lazy.trains_encoder_at(index) for index in (0, 49, 50)] == [False, False, True]
    assert (RECIPES["df2k-4x"].lr_G, RECIPES["df2k-8x"].lr_G, RECIPES["celeba-8x"].lr_G) == (
        2.5e-4,
        5e-4,
        5e-4,
    )


def test_training_lowers_the_loss_and_reports_comparable_bits():
    task = task_of(lr_G=0.003)
    reports = train(task, RandomImages(16, num=4), range(25))
    first, last = (reports[index].values for index in (1, -1))
    assert float(last["loss/nll"]) < float(first["loss/nll"]) - 0.5
    assert float(last["loss/bpd"]) == pytest.approx(float(last["loss/nll"]) / 3 + 8, rel=1e-5)
    assert "loss/bpd" not in train(task_of(noise=False), RandomImages(16), range(1))[0].values


def test_the_error_of_the_likeliest_image_can_be_all_that_is_trained():
    task = task_of(nll_weight=0, l1_weight=1.0, lr_G=0.003)
    reports = train(task, RandomImages(16, num=4), range(12))
    losses = [float(report.values["loss/l1"]) for report in reports]
    assert losses[-1] < losses[0]
    assert "loss/nll" not in reports[0].values
    both = train(task_of(l1_weight=0.5), RandomImages(16), range(1))[0].values
    assert float(both["loss/total"]) == pytest.approx(
        float(both["loss/nll"]) + 0.5 * float(both["loss/l1"]), rel=1e-5
    )


class Second(Alone):
    """The second of two processes, to which the first sends what it found: sevens."""

    rank, size = 1, 2

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        assert not value.any()  # it adds nothing of its own
        return value + 3.5


def test_processes_begin_with_what_the_first_found():
    task = task_of()
    images = torch.rand(2, 3, 16, 16)
    task._join(images, images[:, :, ::4, ::4], Second())
    norms = [each for each in task.network.modules() if isinstance(each, ActNorm)]
    assert all(bool((each.bias == 7).all() and (each.logs == 7).all()) for each in norms)


def test_an_encoder_that_was_trained_before(tmp_path: Path):
    other = task_of()
    with torch.no_grad():
        other.network.RRDB.conv_first.bias.fill_(0.25)
    path = tmp_path / "rrdb.pth"
    torch.save(other.network.RRDB.state_dict(), path)
    task = task_of(encoder_start=str(path))
    assert bool((task.network.RRDB.conv_first.bias == 0.25).all())
    assert task.config()["recipe"]["encoder_start"] == str(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": "lasy"}, "encoder is 'lasy' .nearest: lazy"),
        ({"nll_weight": 0.0}, "nll_weight and l1_weight are both 0"),
        ({"encoder_start": 3}, "encoder_start is 3; give the path of a file"),
        ({"lr_steps_rel": 0.5}, "lr_steps_rel is 0.5; give shares of niter"),
        ({"lr_steps_rel": (0.5, 2)}, "lr_steps_rel is 2; give 0 to 1"),
        ({"batch": 0}, "batch is 0; give a whole number from 1"),
    ],
)
def test_recipes_that_cannot_be(changes: dict[str, object], words: str):
    with pytest.raises(UsageError, match=words):
        Recipe(**changes)  # type: ignore[arg-type]


def test_a_network_without_a_small_image_has_no_encoder_to_start():
    with pytest.raises(UsageError, match="has no encoder; leave encoder and encoder_start out"):
        task_of("tiny-glow", encoder="lazy")


def run_of(output: Path, **more: object) -> RunConfig:
    settings = {
        "model": "srflow", "data": "bundled:digits:train", "output": str(output), "kimg": 0.008,
        "overrides": SMALL, "grid": 8, "device": "cpu", "snapshot_kimg": 0.008,
    }  # fmt: skip
    return RunConfig(**{**settings, **more})


def test_half_types_and_evaluations_of_samples_are_refused_at_the_start(tmp_path: Path):
    with pytest.raises(UsageError, match=r"--eval fd_mini measures images .* srflow restores .*--sr-model"):
        prepare(run_of(tmp_path, evals=(EvalSpec.parse("fd_mini"),)))
    prepare(run_of(tmp_path, preset="tiny-glow", overrides={}, evals=(EvalSpec.parse("fd_mini"),)))
    run = run_of(tmp_path / "half", precision="bf16")
    with pytest.raises(UsageError, match="srflow cannot be trained in bf16"):
        train_run(*prepare(run), run)
    run = run_of(tmp_path / "native", fit="native")
    with pytest.raises(UsageError, match=r"was to enlarge them by 4; train it on images as they are"):
        train_run(*prepare(run), run)


def test_a_run_leaves_a_network_and_pictures_of_restorations(tmp_path: Path):
    from PIL import Image

    import reference_models

    run = run_of(tmp_path)
    result = train_run(*prepare(run), run)
    pictures = sorted((tmp_path / "samples").glob("fakes-*.png"))
    assert len(pictures) == 2  # before and after
    with Image.open(pictures[-1]) as picture:
        shown = np.asarray(picture)
    assert shown.shape == (2 * 32, 3 * 32, 3)  # small image, one sample, original; two rows of these
    with Image.open(tmp_path / "samples" / "reals.png") as picture:
        reals = np.asarray(picture)
    for row in (0, 32):
        original = shown[row : row + 32, 64:]
        cells = [reals[y : y + 32, x : x + 32] for y in range(0, 96, 32) for x in range(0, 96, 32)]
        assert any(np.array_equal(original, cell) for cell in cells)
        small = downscale(original.transpose(2, 0, 1), 4).transpose(1, 2, 0)
        assert np.array_equal(shown[row : row + 32, :32], small.repeat(4, 0).repeat(4, 1))
    model = reference_models.load_checkpoint(result.network)
    assert model.scale == 4
    assert model.training["kimg"] == pytest.approx(0.008)
