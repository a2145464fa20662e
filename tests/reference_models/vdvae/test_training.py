"""VDVAE's trainer: what a step does, what it leaves out, and that it can be taken up again."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from feeds import RandomImages, train
from groups import Alone

from reference_models.catalog import make_task
from reference_models.training import state
from reference_models.training.task import Iteration
from reference_models.vdvae import objective
from reference_models.vdvae.trainer import PATIENCE, VDVAETask

SMALL = {
    "network.img_channels": 3,
    "network.enc_blocks": "8d2,4d4,1x1",
    "network.dec_blocks": "1x1,4m1,8m4",
    "network.width": 8,
    "network.num_mixtures": 2,
    "batch": 4,
    "warmup_iters": 2,
}


def task_of(**more: object) -> VDVAETask:
    task = make_task("vdvae", "tiny", img_resolution=8, overrides={**SMALL, **more})
    assert isinstance(task, VDVAETask)
    return task


def tensors_of(task: VDVAETask) -> dict[str, torch.Tensor]:
    return copy.deepcopy(state.collect(task)[0])


def test_training_taken_up_again_is_the_same_training():
    # A threshold between the norms of the first steps: some are left out before the break.
    norms = [float(report.values["grad/norm"]) for report in train(task_of(), RandomImages(8), range(3))]
    threshold = sorted(norms)[1] * 1.0001
    whole, feed = task_of(skip_threshold=threshold), RandomImages(8)
    train(whole, feed, range(3))
    assert 0 < whole.skipped < 3
    tensors, facts = state.collect(whole)
    tensors, facts, position = copy.deepcopy(tensors), copy.deepcopy(facts), feed.position
    train(whole, feed, range(3, 6))

    again, feed = task_of(skip_threshold=threshold), RandomImages(8)
    feed.position = position
    state.restore(again, tensors, facts, "kept")
    train(again, feed, range(3, 6))
    found, wanted = tensors_of(again), tensors_of(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert again.numbers() == whole.numbers()
    assert not torch.equal(found["networks/G_ema/decoder.gain"], found["networks/G/decoder.gain"])


def test_the_first_step_moves_nothing_and_the_second_all():
    task = task_of()
    before = tensors_of(task)
    first = train(task, RandomImages(8), range(1))
    assert first[0].values["lr"] == 0
    after = tensors_of(task)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {"loss/elbo", "loss/distortion", "loss/rate", "grad/norm"} <= first[0].values.keys()
    train(task, RandomImages(8), range(1, 2))
    moved = tensors_of(task)
    assert not torch.equal(moved["networks/G/decoder.gain"], before["networks/G/decoder.gain"])


def test_a_step_with_a_long_gradient_changes_nothing():
    task = task_of(skip_threshold=1e-6)
    before = tensors_of(task)
    reports = train(task, RandomImages(8), range(1, 3))
    after = tensors_of(task)
    assert before.keys() == after.keys()  # the optimiser has not begun either
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [float(report.values["grad/skipped"]) for report in reports] == [1, 1]
    assert task.skipped == task.skipped_in_a_row == 2
    # The rate goes on rising meanwhile.
    assert reports[1].values["lr"] == pytest.approx(2 * float(reports[0].values["lr"]))


def test_no_threshold_leaves_no_step_out():
    task = task_of(skip_threshold=-1, grad_clip=1e-9)
    train(task, RandomImages(8), range(3))
    assert task.skipped == 0


def at(index: int) -> Iteration:
    return Iteration(index=index, images=0, feed=RandomImages(8), rng=torch.Generator(), group=Alone())


@pytest.mark.parametrize("threshold", [400.0, -1])
def test_a_bound_that_is_no_number_leaves_the_step_out(threshold: float):
    task = task_of(skip_threshold=threshold)
    before = tensors_of(task)
    images = RandomImages(8).reals(4).images
    target = objective.targets(images, task.network.config)
    eps = [torch.zeros(4, 16, side, side) for side in (1, 4, 8)]
    x = torch.full_like(target, math.nan)
    assert task.step(x, target, eps, at(5)).skipped
    after = tensors_of(task)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_numbers_that_are_not_finite_reach_the_log_after_many_steps_alone():
    task = task_of()
    with torch.no_grad():
        task.network.encoder.in_conv.bias.fill_(math.nan)
    (report,) = train(task, RandomImages(8), range(1))
    assert "loss/elbo" not in report.values
    assert all(math.isfinite(value) for value in report.values.values())
    task.skipped_in_a_row = PATIENCE
    (report,) = train(task, RandomImages(8), range(1, 2))
    assert math.isnan(float(report.values["loss/elbo"]))


def test_training_lowers_the_bound():
    task = task_of(lr=0.01, warmup_iters=1)
    reports = train(task, RandomImages(8, num=4), range(25))
    first, last = (float(reports[index].values["loss/elbo"]) for index in (1, -1))
    assert last < first - 0.1
