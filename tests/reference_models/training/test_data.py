"""Images of training: what fits and how, their order, and the share of each process."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from groups import Alone
from PIL import Image

from evalkit.errors import SourceError, UsageError
from evalkit.sources.arrays import ArraySource
from reference_models.training.data import DataFeed, Sampler, open_data
from reference_models.training.distributed import ProcessGroup
from reference_models.training.schedules import pyramid

CPU = torch.device("cpu")


def noise(num=12, height=8, width=None, seed=0):
    shape = (num, height, width or height, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def opened(images, fit="exact", resolution=None, labels=None, **changes):
    source = ArraySource(images, labels, "data.npz")
    return open_data(source, fit=fit, resolution=resolution, labels=labels is not None, **changes)


def feed(data, *, group=None, mirror=False, channels=3, seed=3):
    return DataFeed(
        data, seed=seed, mirror_doubles=mirror, group=group or Alone(), device=CPU, channels=channels
    )


# ------------------------------------------------------------------------------------------------- fitting


def test_exact_images_are_taken_as_they_are():
    images = noise()
    data = opened(images)
    assert (data.spec, data.num, data.resolution, data.num_classes, data.enlarge) == ("data.npz", 12, 8, 0, 1)
    found = data.images(np.array([7, 0, 7]))
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), images[[7, 0, 7]].transpose(0, 3, 1, 2))
    assert data.classes(np.array([0])) is None


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8, 16), r"image 0 of data.npz has 16x8 pixels, which is no square.*--fit resize, crop or pad"),
        ((12, 12), r"image 0 of data.npz has 12x12 pixels, which is no power of two from 4"),
        ((2, 2), r"no power of two"),
    ],
)
@pytest.mark.parametrize("fit", ["exact", "native"])
def test_images_that_no_model_takes_are_named(shape, words, fit):
    with pytest.raises(SourceError, match=words):
        opened(noise(3, *shape), fit)


@pytest.mark.parametrize("cache_bytes", [2 << 30, 0])
def test_the_first_image_of_another_size_is_named(tmp_path, cache_bytes):
    for name, side in (("a", 8), ("b", 8), ("c", 16), ("d", 4)):
        Image.fromarray(noise(1, side)[0]).save(tmp_path / f"{name}.png")
    with pytest.raises(SourceError, match=r"c\.png has 16x16 pixels, and training takes 8x8; give --fit"):
        open_data(str(tmp_path), fit="exact", resolution=None, labels=False, cache_bytes=cache_bytes)
    assert open_data(str(tmp_path), fit="resize", resolution=8, labels=False).num == 4


def test_another_resolution_than_that_of_the_images_is_refused():
    assert opened(noise(), resolution=8).resolution == 8
    with pytest.raises(SourceError, match="has 8x8 pixels, and --resolution 16 was asked for"):
        opened(noise(), resolution=16)
    with pytest.raises(UsageError, match="at its own resolution, 8, and --resolution 16"):
        open_data("bundled:digits:test", fit="native", resolution=16, labels=False)


def test_patches_are_whole_squares_of_every_image_of_any_side():
    images = noise(2, 13, 18)
    data = opened(images, "patches", 6, labels=np.array([0, 1]))
    assert (data.num, data.resolution, data.num_classes) == (12, 6, 2)
    rows = images.transpose(0, 3, 1, 2)
    places = [(i, y, x) for i in range(2) for y in (0, 6) for x in (0, 6, 12)]
    wanted = np.stack([rows[i, :, y : y + 6, x : x + 6] for i, y, x in places])
    assert np.array_equal(data.images(np.arange(12)).numpy(), wanted)
    assert data.classes(np.arange(12)).tolist() == [0] * 6 + [1] * 6
    again = opened(images, "patches", 6, labels=np.array([0, 1]), cache_bytes=0)
    assert np.array_equal(again.images(np.array([7, 0, 8])).numpy(), wanted[[7, 0, 8]])
    assert again.fingerprint == data.fingerprint
    assert opened(images, "patches", 4).fingerprint != opened(images, "patches", 5).fingerprint
    with pytest.raises(
        SourceError, match=r"image 0 of data.npz has 18x13 pixels, and --fit patches cuts squares of 14x14"
    ):
        opened(images, "patches", 14)


@pytest.mark.parametrize("fit", ["resize", "crop", "pad"])
@pytest.mark.parametrize("side", [None, 12, 2])
def test_fits_need_a_side_that_a_model_has(fit, side):
    with pytest.raises(UsageError, match=f"--fit {fit} brings images to a resolution, and {side} was given"):
        opened(noise(), fit, side)


def test_an_unknown_fit_is_refused():
    with pytest.raises(UsageError, match="fit"):
        opened(noise(), "squeeze", 8)


def test_resize_is_pillows_antialiased_bicubic():
    images = noise(2, 24, 10)
    found = opened(images, "resize", 8).images(np.array([1]))[0].numpy()
    wanted = Image.fromarray(images[1]).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(found, np.asarray(wanted).transpose(2, 0, 1))


@pytest.mark.parametrize(("height", "width"), [(8, 14), (14, 8), (8, 13)])
def test_crop_takes_the_middle(height, width):
    images = noise(1, height, width)
    top, left = (height - 8) // 2, (width - 8) // 2
    found = opened(images, "crop", 8).images(np.array([0]))[0].numpy()
    assert np.array_equal(found, images[0, top : top + 8, left : left + 8].transpose(2, 0, 1))


@pytest.mark.parametrize(("height", "width"), [(8, 4), (4, 8), (5, 8)])
def test_pad_adds_black_bars(height, width):
    images = np.full((1, height, width, 3), 200, np.uint8)
    found = opened(images, "pad", 8).images(np.array([0]))[0].numpy()
    assert found.sum() == images.sum()
    top, left = (8 - height) // 2, (8 - width) // 2
    assert (found[:, top : top + height, left : left + width] == 200).all()


def test_native_digits_are_8x8_and_can_be_enlarged_again():
    data = open_data("bundled:digits:test", fit="native", resolution=None, labels=False)
    assert (data.num, data.resolution, data.enlarge) == (898, 8, 4)
    small = data.images(np.arange(898))
    whole = open_data("bundled:digits:test", fit="exact", resolution=32, labels=False).images(np.arange(898))
    assert torch.equal(small.repeat_interleave(4, 2).repeat_interleave(4, 3), whole)


def test_native_is_what_all_images_allow():
    images = noise(4, 8).repeat(4, 1).repeat(4, 2)
    images[2] = noise(1, 16, seed=1).repeat(2, 1).repeat(2, 2)[0]
    assert opened(images, "native").enlarge == 2
    images[3, 5, 5] ^= 1
    with pytest.raises(
        UsageError, match="--fit native undoes an enlargement, and the images of data.npz, 32x32"
    ):
        opened(images, "native")
    # A flat image allows any reduction; 8x8 remain.
    assert opened(np.zeros((2, 64, 64, 3), np.uint8), "native").resolution == 8


def test_statistics_hold_no_images(tmp_path):
    np.savez(tmp_path / "stats.npz", mu=np.zeros(4), sigma=np.eye(4))
    with pytest.raises(SourceError, match="holds statistics of images, and training needs the images"):
        open_data(str(tmp_path / "stats.npz"), fit="exact", resolution=None, labels=False)


# -------------------------------------------------------------------------------------- levels and channels


@pytest.mark.parametrize("cache_bytes", [2 << 30, 0])
def test_levels_are_those_of_the_pyramid_kept_or_not(cache_bytes):
    data = opened(noise(5, 16), cache_bytes=cache_bytes)
    at = np.array([4, 1])
    whole = data.images(at)
    for level, wanted in enumerate(pyramid(whole)):
        assert torch.equal(data.images(at, level), wanted)


def test_one_channel_is_luma_and_grey_stays_what_it_is():
    grey = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1).repeat(3, 3)
    found = opened(grey).images(np.arange(4), channels=1)
    assert np.array_equal(found.numpy()[:, 0], grey[..., 0])
    colours = noise()
    wanted = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colours])
    assert np.array_equal(opened(colours).images(np.arange(12), channels=1).numpy()[:, 0], wanted)


def test_the_fingerprint_is_of_the_content():
    assert opened(noise()).fingerprint == opened(noise()).fingerprint != opened(noise(seed=1)).fingerprint


# --------------------------------------------------------------------------------------------------- labels


def test_labels_that_cannot_be_classes_are_refused():
    for labels in (np.array([0, -1, 2]), np.array([0, 0, 0]), np.array([0, 1, 10**9])):
        with pytest.raises(SourceError, match="takes two classes or more, numbered from 0"):
            opened(noise(3), labels=labels)
    with pytest.raises(SourceError, match="has no labels, and --cond asks for them; leave --cond out"):
        open_data(noise(), fit="exact", resolution=None, labels=True)


def test_images_come_with_their_labels_and_labels_as_often_as_the_data_has_them():
    images, labels = noise(40), np.array([0] * 30 + [2] * 10)
    data = opened(images, labels=labels)
    assert data.num_classes == 3
    source = feed(data)
    served = source.reals(40)
    where = [int(np.flatnonzero((images.transpose(0, 3, 1, 2) == one.numpy()).all((1, 2, 3)))[0])
             for one in served.images]  # fmt: skip
    assert served.labels.argmax(1).tolist() == labels[where].tolist()
    drawn = source.labels(4000, torch.Generator().manual_seed(0))
    assert drawn.shape == (4000, 3)
    assert drawn.dtype == torch.float32
    # 6 standard deviations of a share of 3/4 among 4000.
    assert abs(drawn.mean(0)[0].item() - 0.75) < 6 * (0.75 * 0.25 / 4000) ** 0.5
    assert drawn.sum(0)[1] == 0
    assert torch.equal(drawn, source.labels(4000, torch.Generator().manual_seed(0)))
    assert feed(opened(images)).labels(3, torch.Generator()) is None


# -------------------------------------------------------------------------------------------------- sampler


def test_every_pass_serves_every_item_once_in_an_order_of_its_own():
    sampler = Sampler(10, 5)
    passes = [sampler.indices(10 * epoch, 10).tolist() for epoch in range(4)]
    assert all(sorted(each) == list(range(10)) for each in passes)
    assert len({tuple(each) for each in passes}) == 4
    assert Sampler(10, 6).indices(0, 10).tolist() != passes[0]


def test_indices_depend_on_the_position_alone():
    whole = Sampler(7, 1).indices(0, 50)
    sampler = Sampler(7, 1)
    for position, count in ((33, 17), (0, 1), (6, 2), (20, 0), (5, 30)):
        assert np.array_equal(sampler.indices(position, count), whole[position : position + count])


# ----------------------------------------------------------------------------------------------------- feed


def test_a_feed_goes_on_where_it_was():
    data = opened(noise(), labels=np.arange(12) % 3)
    source = feed(data, mirror=True)
    source.reals(10)
    later = source.reals(20)
    resumed = feed(data, mirror=True)
    resumed.position = 10
    again = resumed.reals(20)
    assert torch.equal(later.images, again.images)
    assert torch.equal(later.labels, again.labels)
    assert source.position == resumed.position == 30


def test_mirrored_images_are_images_of_their_own():
    images = noise()
    served = feed(opened(images), mirror=True).reals(24).images.numpy()
    straight = images.transpose(0, 3, 1, 2)
    wanted = np.concatenate([straight, straight[..., ::-1]])
    assert sorted(each.tobytes() for each in served) == sorted(each.tobytes() for each in wanted)


@pytest.mark.parametrize("level", [0, 1])
def test_processes_share_one_order(level):
    data = opened(noise(16))
    whole = feed(data).reals(12, level=level).images
    parts = [feed(data, group=ProcessGroup(rank, 3)).reals(12, level=level).images for rank in range(3)]
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)
    assert whole.shape[-1] == 8 >> level


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(UsageError, match="a batch of 10 images cannot be shared evenly by 4 processes"):
        feed(opened(noise()), group=ProcessGroup(1, 4)).reals(10)


def test_grey_models_get_one_channel():
    assert feed(opened(noise()), channels=1).reals(5).images.shape == (5, 1, 8, 8)
