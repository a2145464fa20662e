"""NVAE's trainer: what a step does, that it can be taken up again, and what cells and processes share."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from feeds import RandomImages, train
from groups import Alone

from evalkit.errors import UsageError
from reference_models.catalog import make_task, wrap
from reference_models.nvae import operations
from reference_models.nvae.operations import BatchNorm, NormedConv
from reference_models.nvae.recipe import Recipe
from reference_models.nvae.trainer import NVAETask
from reference_models.training import state
from reference_models.training.task import Iteration

SMALL = {
    "network.img_channels": 3,
    "network.num_latent_scales": 1,
    "network.num_groups_per_scale": 2,
    "network.num_latent_per_group": 2,
    "network.num_channels_enc": 4,
    "network.num_channels_dec": 4,
    "network.num_mixture_dec": 2,
    "batch": 4,
    "epochs": 6,
    "epoch_images": 8,
    "warmup_epochs": 1,
    "mirror": True,
}


def task_of(**more: object) -> NVAETask:
    task = make_task("nvae", "tiny", img_resolution=8, overrides={**SMALL, **more})
    assert isinstance(task, NVAETask)
    return task


def tensors_of(task: NVAETask) -> dict[str, torch.Tensor]:
    return copy.deepcopy(state.collect(task)[0])


def test_training_taken_up_again_is_the_same_training():
    whole, feed = task_of(), RandomImages(8)
    train(whole, feed, range(3))
    tensors, facts = state.collect(whole)
    tensors, facts, position = copy.deepcopy(tensors), copy.deepcopy(facts), feed.position
    train(whole, feed, range(3, 6))

    again, feed = task_of(), RandomImages(8)
    feed.position = position
    state.restore(again, tensors, facts, "kept")
    train(again, feed, range(3, 6))
    found, wanted = tensors_of(again), tensors_of(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    # Vectors of power iterations are part of it, and move.
    vectors = [name for name in wanted if name.startswith("networks/spectral/u_")]
    assert any(not torch.equal(wanted[name], tensors[name]) for name in vectors)


def test_the_first_step_moves_nothing_but_statistics():
    task = task_of()
    before = tensors_of(task)
    (report,) = train(task, RandomImages(8), range(1))
    assert report.values["lr"] == 0
    assert report.images == 4
    after = tensors_of(task)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    names = {name.rpartition(".")[2] for name in moved if not name.startswith("networks/spectral")}
    assert names == {"running_mean", "running_var"}
    assert {"loss/total", "loss/elbo", "loss/recon", "loss/kl", "kl/beta"} <= report.values.keys()


def test_an_evaluation_in_between_changes_nothing():
    tasks = [task_of(), task_of()]
    feeds = [RandomImages(8), RandomImages(8)]
    for task, feed in zip(tasks, feeds, strict=True):
        train(task, feed, range(2))
    wrap("nvae", tasks[0].networks["G_ema"], label="in between")  # stops gradients and batch statistics
    for task, feed in zip(tasks, feeds, strict=True):
        train(task, feed, range(2, 4))
    first, second = map(tensors_of, tasks)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_bound():
    task = task_of(epochs=40, mirror=False)
    reports = train(task, RandomImages(8, num=4), range(16))
    first, last = (float(reports[index].values["loss/recon"]) for index in (0, -1))
    assert last < first - 10


def test_cells_that_begin_by_data_do_so_once():
    task = task_of(**{"network.arch_instance": "res_elu"})
    waiting = [each for each in task.network.modules() if isinstance(each, NormedConv) and each.by_data]
    assert len(waiting) == 2 * sum(1 for name, _ in task.network.named_modules() if name.endswith("_ops"))
    x = torch.rand(8, 3, 8, 8)
    found = {}
    for each in waiting:
        each.register_forward_hook(lambda module, given, result: found.update({module: result}))
    # In evaluation nothing is set, so that answers do not depend on what was asked first.
    eps = [torch.randn(8, *shape) for shape in task.network.latent_shapes]
    task.network.eval()(x, eps)
    assert all(each.by_data for each in waiting)
    task.network.train()(x, eps)
    assert not any(each.by_data for each in waiting)
    for result in found.values():
        out = result.detach().transpose(0, 1).flatten(1)
        torch.testing.assert_close(out.mean(1), torch.zeros(len(out)), rtol=0, atol=1e-4)
        torch.testing.assert_close(out.std(1), torch.full((len(out),), 0.2), rtol=1e-3, atol=1e-4)
    before = {each: each.bias.detach().clone() for each in waiting}
    task.network(torch.rand(8, 3, 8, 8), eps)
    assert all(torch.equal(before[each], each.bias) for each in waiting)


def test_processes_share_what_they_begin_with():
    class Pair(Alone):
        """Two processes, of which the other one found zeros."""

        size = 2

        def mean(self, value: torch.Tensor) -> torch.Tensor:
            return value / 2

    alone, paired = (task_of(**{"network.arch_instance": "res_elu"}) for _ in range(2))
    x = torch.rand(4, 3, 8, 8)
    eps = [torch.randn(4, *shape) for shape in alone.network.latent_shapes]
    for task, group in ((alone, Alone()), (paired, Pair())):
        task.step(x, eps, Iteration(index=0, images=0, feed=None, rng=torch.Generator(), group=group))
    first = [
        next(
            m
            for m in task.network.modules()
            if isinstance(m, NormedConv) and m.kernel_size == (3, 3) and m is not task.network.stem
        )
        for task in (alone, paired)
    ]
    torch.testing.assert_close(first[1].bias, first[0].bias / 2)


def test_batch_norms_of_two_processes_are_those_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch):
    # Two threads stand for processes; what each of them sums, it waits for.
    barrier, sums = threading.Barrier(2, timeout=60), {}

    def all_reduce(value: torch.Tensor) -> None:
        sums[threading.get_ident()] = value.clone()
        barrier.wait()
        value.copy_(sum(sums.values()))
        barrier.wait()

    monkeypatch.setattr(operations.torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(operations.torch.distributed, "get_world_size", lambda: 2)
    rng = torch.Generator().manual_seed(0)
    x, weights = (torch.randn(6, 3, 4, 4, generator=rng) * 2 + 1 for _ in range(2))

    def passed(norm: BatchNorm, part: torch.Tensor, by: torch.Tensor) -> list[torch.Tensor]:
        part = part.clone().requires_grad_()
        out = norm.train()(part)
        out.mul(by).square().mean().backward()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return [
            out.detach(),
            part.grad,
            norm.weight.grad,
            norm.bias.grad,
            norm.running_mean,
            norm.running_var,
        ]

    wanted = passed(BatchNorm(3), x, weights)
    norms = [BatchNorm(3), BatchNorm(3)]
    for norm in norms:
        norm.synchronised = True
    with ThreadPoolExecutor(2) as pool:
        halves = list(pool.map(passed, norms, x.chunk(2), weights.chunk(2)))
    torch.testing.assert_close(torch.cat([half[0] for half in halves]), wanted[0])
    # Each minds the mean of its own half, of which the whole's mean has half.
    torch.testing.assert_close(torch.cat([half[1] for half in halves]) / 2, wanted[1])
    for place in (2, 3):
        torch.testing.assert_close((halves[0][place] + halves[1][place]) / 2, wanted[place])
    for half in halves:
        torch.testing.assert_close(half[4:], wanted[4:])
    norms[0].eval()(x)  # asks nobody


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch_images": 3}, "epoch_images is 3; give a whole number from 4"),
        ({"warmup_epochs": 7}, "warmup_epochs is 7; give a whole number from 0 to 6"),
        ({"kl_anneal_portion": 2}, "kl_anneal_portion is 2; give 0 to 1"),
        ({"learning_rate": 0}, "learning_rate is 0; give a number above 0"),
        ({"learning_rate_min": 1}, "learning_rate_min is 1; give 0 to 0.01"),
        ({"weight_decay_norm_anneal": True, "weight_decay_norm": 0}, "weight_decay_norm is 0"),
    ],
)
def test_numbers_that_no_training_has_are_refused(changes: dict[str, object], words: str):
    with pytest.raises(UsageError, match=words):
        Recipe(**{"batch": 4, "epochs": 6, "epoch_images": 8, "warmup_epochs": 1, **changes})


def test_batches_that_processes_cannot_share_are_refused():
    with pytest.raises(UsageError, match="a batch of 200 images cannot be shared evenly by 3 processes"):
        Recipe().check_shares(3, 32)
