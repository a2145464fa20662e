"""Checkpoints of a training: every bit comes back, damage is noticed, a full disk costs nothing."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from feeds import RandomImages, train
from small_tasks import small_task

from evalkit.errors import CheckpointError, StoreError
from reference_models.catalog import make_task
from reference_models.training import checkpoint, state


def growing_task():
    overrides = {"generator.fmap_max": 8, "discriminator.fmap_max": 8, "schedule.minibatch_base": 8}
    return make_task("progan", "tiny", img_resolution=8, overrides=overrides)


def parts(task) -> tuple[dict[str, torch.Tensor], str]:
    tensors, facts = state.collect(task)
    return tensors, state.as_json(facts)


def same(a, b) -> bool:
    return (
        a[1] == b[1]
        and a[0].keys() == b[0].keys()
        and all(torch.equal(a[0][name], b[0][name]) and a[0][name].dtype == b[0][name].dtype for name in a[0])
    )


@pytest.mark.parametrize("make", [small_task, growing_task])
def test_a_task_gets_every_bit_back_and_trains_on_from_there(tmp_path, make):
    task, feed = make(), RandomImages(8)
    train(task, feed, range(4))
    tensors, facts = state.collect(task)
    path = checkpoint.save(tmp_path, 32, tensors, facts)
    other = make()
    other_feed = RandomImages(8)
    other_feed.position = feed.position
    found = checkpoint.load(path)
    state.restore(other, found.tensors, found.facts, str(path))
    assert same(parts(task), parts(other))
    for each, images in ((task, feed), (other, other_feed)):
        train(each, images, range(4, 7), images=32)
    assert same(parts(task), parts(other))
    assert any(name.startswith("optimisers/D/") and name.endswith("/exp_avg_sq") for name in tensors)


def test_collected_tensors_do_not_change_with_training():
    task = small_task()
    before = parts(task)
    copies = ({name: value.clone() for name, value in before[0].items()}, before[1])
    train(task, RandomImages(8), range(1))
    assert same(before, copies)
    assert not same(before, parts(task))


def test_small_and_odd_tensors_keep_their_types_and_bits(tmp_path):
    tensors = {
        "step": torch.tensor(3.0),
        "count": torch.tensor(7),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "double": torch.tensor([0.1], dtype=torch.float64),
        "flag": torch.tensor([True, False]),
        "nothing": torch.empty(0, 3),
        "odd": torch.tensor([float("nan"), -0.0]),
    }
    facts = {"rate": 0.1 + 0.2, "none": None}
    found = checkpoint.load(checkpoint.save(tmp_path, 1, tensors, facts))
    assert found.facts == facts
    for name, value in tensors.items():
        assert found.tensors[name].dtype == value.dtype
        assert found.tensors[name].shape == value.shape
        assert torch.equal(
            found.tensors[name].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8)
        )


def save_three(folder):
    return [
        checkpoint.save(folder, images, {"w": torch.full((100,), float(images))}, {"images": images})
        for images in (1000, 2500, 12000)
    ]


def test_names_sort_as_images_do(tmp_path):
    assert [path.name for path in save_three(tmp_path)] == [
        "state-000001.000kimg.safetensors",
        "state-000002.500kimg.safetensors",
        "state-000012.000kimg.safetensors",
    ]
    assert [checkpoint.images_of(path) for path in checkpoint.checkpoints(tmp_path)] == [12000, 2500, 1000]


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, -7),  # a bit of a weight
        lambda path: path.write_bytes(path.read_bytes().replace(b"12000", b"12001")),  # of the facts
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04garbage"),
    ],
    ids=["weight", "facts", "short", "empty", "garbage"],
)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, damage):
    newest = save_three(tmp_path)[2]
    damage(newest)
    found, notes = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.facts["images"] == 2500
    assert len(notes) == 1
    assert newest.name in notes[0]
    assert "going back to the checkpoint before it" in notes[0]
    assert not newest.exists()  # else it would count as one that is kept
    assert newest.with_name(newest.name + ".damaged").exists()


def test_where_no_checkpoint_is_sound_training_does_not_begin_anew_by_itself(tmp_path):
    for path in save_three(tmp_path):
        flip(path, -1)
    with pytest.raises(CheckpointError, match="none of the 3 checkpoints .* start anew in another folder"):
        checkpoint.latest(tmp_path)
    assert len(checkpoint.checkpoints(tmp_path)) == 3


def test_an_empty_or_absent_folder_has_no_checkpoint(tmp_path):
    assert checkpoint.latest(tmp_path) == (None, [])
    assert checkpoint.latest(tmp_path / "absent") == (None, [])


def test_the_newest_and_the_best_are_kept(tmp_path):
    paths = save_three(tmp_path)
    checkpoint.prune(tmp_path, 1, [paths[0]])
    assert checkpoint.checkpoints(tmp_path) == [paths[2], paths[0]]


def test_a_full_disk_leaves_older_checkpoints_whole_and_says_how_to_go_on(tmp_path, monkeypatch):
    paths = save_three(tmp_path)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"after 13 kimg could not be saved: .*No space left.*--resume auto"):
        checkpoint.save(tmp_path, 13000, {"w": torch.zeros(3)}, {})
    assert checkpoint.checkpoints(tmp_path) == paths[::-1]
    assert len(list(tmp_path.iterdir())) == 3  # no part of a file stays behind
    found, notes = checkpoint.latest(tmp_path)
    assert found is not None
    assert not notes


def test_other_files_are_no_checkpoints(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        checkpoint.load(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="nothing is at"):
        checkpoint.load(tmp_path / "absent.safetensors")


def test_the_state_of_other_networks_is_refused_by_name():
    tensors, facts = state.collect(small_task())
    with pytest.raises(CheckpointError, match="holds the state of other networks.*networks/"):
        state.restore(growing_task(), tensors, facts, "state-1")


def test_numbers_that_are_not_finite_are_found_by_name():
    task = small_task()
    assert state.not_finite(task.networks) == []
    weight = next(iter(task.networks["D"].parameters()))
    weight.flatten()[0] = float("nan")
    (found,) = state.not_finite(task.networks)
    assert found.startswith("D.")
