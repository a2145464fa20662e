"""Every kind of pixel by its stated rule, cut and foreign files named, and nothing silently half decoded."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from evalkit.errors import SourceError
from evalkit.sources import decode as decode_module
from evalkit.sources.decode import Trait, decode, traits
from evalkit.sources.resolve import resolve

RNG = np.random.default_rng(1)
COLOUR = RNG.integers(0, 256, (16, 20, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (16, 20, 3)).astype(np.uint16)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_pillow_reads(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)


def deep_png(pixels: np.ndarray) -> bytes:
    """A 16-bit colour PNG, which Pillow reads and cannot write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def test_sixteen_bit_colour_keeps_the_high_byte():
    data = deep_png(DEEP)
    np.testing.assert_array_equal(decode(data, "x"), (DEEP >> 8).transpose(2, 0, 1))
    np.testing.assert_array_equal(decode(data, "x"), as_pillow_reads(data))
    assert traits(data, "x") == Trait.DEEP


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_the_high_byte(kind: str):
    data = encoded(Image.fromarray(DEEP[..., 0]), kind)
    np.testing.assert_array_equal(decode(data, "x"), np.repeat(DEEP[None, ..., 0] >> 8, 3, axis=0))
    assert traits(data, "x") == Trait.DEEP


def test_sixteen_bit_grey_of_either_byte_order():
    swapped = Image.frombytes("I;16B", (20, 16), DEEP[..., 0].astype(">u2").tobytes())
    data = encoded(swapped, "TIFF")
    np.testing.assert_array_equal(decode(data, "x")[0], DEEP[..., 0] >> 8)


def test_eight_bits_stored_as_sixteen_come_back_unchanged():
    data = encoded(Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 257), "PNG")
    np.testing.assert_array_equal(decode(data, "x")[0], COLOUR[..., 0])


def test_sixteen_bit_netpbm_colour_is_rounded():
    data = b"P6\n20 16\n65535\n" + DEEP.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode(data, "x"), np.rint(DEEP / 257).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_transparent_colour_is_an_ordinary_one(mode: str):
    colour = (1, 2, 3) if mode == "RGB" else 1
    image = Image.fromarray(COLOUR).convert(mode)
    opaque, transparent = encoded(image, "PNG"), encoded(image, "PNG", transparency=colour)
    np.testing.assert_array_equal(decode(transparent, "x"), decode(opaque, "x"))
    assert traits(transparent, "x") == Trait.ALPHA
    assert traits(opaque, "x") == Trait(0)


def test_a_palette_with_alpha_values_reads_without_a_warning():
    image = Image.fromarray(COLOUR).convert("P")
    data = encoded(image, "PNG", transparency=bytes([0, 128] + [255] * 254))
    np.testing.assert_array_equal(decode(data, "x"), np.asarray(image.convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_of_several_frames_the_first_is_used(kind: str, options: dict):
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(data, "x"), COLOUR.transpose(2, 0, 1))
    assert traits(data, "x") == Trait.FRAMES


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_is_treated_as_the_peers_treat_it(kind: str):
    exif = Image.Exif()
    exif[274] = 6
    data = encoded(Image.fromarray(COLOUR), kind, exif=exif)
    np.testing.assert_array_equal(decode(data, "x"), as_pillow_reads(data))
    assert traits(data, "x") == (Trait(0) if kind == "TIFF" else Trait.TURNED)


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_jpeg_modes(mode: str):
    data = encoded(Image.fromarray(COLOUR).convert(mode), "JPEG", quality=90)
    np.testing.assert_array_equal(decode(data, "x"), as_pillow_reads(data))
    assert traits(data, "x") == (Trait.CMYK if mode == "CMYK" else Trait(0))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("kept", [0.95, 0.5, 0.02])
def test_cut_files_are_named(kind: str, kept: float):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(SourceError, match="some file cannot be read as an image"):
        decode(data[: int(len(data) * kept)], "some file")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"<html>404</html>", "no accepted format begins like this file"),
        (encoded(Image.fromarray(COLOUR), "GIF"), "no accepted format begins like this file"),
        (encoded(Image.fromarray(COLOUR[..., 0].astype(np.int32)), "TIFF"), "32-bit integers.*which value"),
        (encoded(Image.fromarray(COLOUR[..., 0].astype(np.float32)), "TIFF"), "floats.*which value"),
        (b"P6\n20000 20000\n255\n" + b"\0" * 64, "DecompressionBomb|pixels are more than"),
    ],
)
def test_what_is_no_image_says_why(data: bytes, message: str):
    with pytest.raises(SourceError, match=f"x cannot be read as an image .*{message}"):
        decode(data, "x")


def test_the_limit_on_pixels_holds_where_pillows_was_lifted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(SourceError, match=r"20000 x 20000 pixels are more than 178,956,970"):
        decode(b"P6\n20000 20000\n255\n" + b"\0" * 64, "x")


def test_a_pillow_told_to_guess_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(SourceError, match="LOAD_TRUNCATED_IMAGES is set.*set it to False"):
        decode(encoded(Image.fromarray(COLOUR), "PNG"), "x")


def test_the_content_decides_and_not_the_extension(tmp_path: Path):
    data = encoded(Image.fromarray(COLOUR), "JPEG")
    (tmp_path / "really_a_jpeg.png").write_bytes(data)
    np.testing.assert_array_equal(resolve(tmp_path).load([0])[0], as_pillow_reads(data))


def test_every_extension_is_found_in_any_case(tmp_path: Path):
    data = encoded(Image.fromarray(COLOUR), "PNG")
    for extension in decode_module.EXTENSIONS:
        (tmp_path / f"a{extension}").write_bytes(data)
        (tmp_path / f"b{extension.upper()}").write_bytes(data)
    assert len(resolve(tmp_path)) == 2 * len(decode_module.EXTENSIONS)


def test_images_read_as_torch_fidelity_reads_them(tmp_path: Path):
    from torch_fidelity.datasets import ImagesPathDataset

    kinds = {"a.png": {}, "b.jpg": {"quality": 80}, "c.jpg": {"progressive": True}, "d.webp": {}, "e.bmp": {}}
    for name, options in kinds.items():
        Image.fromarray(RNG.integers(0, 256, (33, 47, 3), dtype=np.uint8)).save(tmp_path / name, **options)
    Image.fromarray(COLOUR).convert("RGBA").save(tmp_path / "f.png")
    Image.fromarray(COLOUR).convert("P").save(tmp_path / "g.png")
    theirs = ImagesPathDataset([str(path) for path in sorted(tmp_path.iterdir())])
    ours = resolve(tmp_path)
    assert len(ours) == len(theirs) == 7
    for index, image in enumerate(ours.load(range(7))):
        np.testing.assert_array_equal(image, theirs[index].numpy())


def test_notes_count_the_images_of_a_selection_alone(tmp_path: Path):
    for i in range(6):
        image = Image.fromarray(COLOUR)
        if i in (1, 4, 5):
            image.putalpha(128)
        image.save(tmp_path / f"{i}.png")
    assert resolve(tmp_path).notes == (
        "3 of 6 images have transparency: the alpha channel is dropped, as torch-fidelity and clean-fid do",
    )
    first = resolve(tmp_path, limit=3)
    assert first.notes[0].startswith("1 of 3 images have transparency")
    first.load([0])
    assert first.notes[0].startswith("1 of 3 images have transparency")


def test_folders_with_nothing_in_them(tmp_path: Path):
    with pytest.raises(SourceError, match=r"holds no image \(it is empty\); accepted are PNG"):
        resolve(tmp_path)
    (tmp_path / "a.gif").write_bytes(b"")
    (tmp_path / "b.gif").write_bytes(b"")
    with pytest.raises(SourceError, match=r"holds no image \(it holds 2 x \.gif\)"):
        resolve(tmp_path)


def test_one_image_is_a_source(tmp_path: Path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    assert len(resolve(tmp_path)) == 1


def test_links_are_followed_and_dangling_ones_are_named(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "set").mkdir()
    Image.fromarray(COLOUR).save(tmp_path / "real" / "a.png")
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "set" / "more").symlink_to(tmp_path / "real", target_is_directory=True)
    assert len(resolve(tmp_path / "set")) == 2
    (tmp_path / "set" / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "set" / "c.png").symlink_to("c.png")
    with pytest.raises(SourceError, match=r"b\.png cannot be read"):
        _ = resolve(tmp_path / "set").fingerprint
    source = resolve(tmp_path / "set", skip_broken=True)
    assert len(source) == 2
    assert [os.path.basename(name) for name in source.broken] == ["b.png", "c.png"]


def test_sizes_may_differ(tmp_path: Path):
    for size in (8, 12, 31):
        Image.fromarray(COLOUR).resize((size, size + 1)).save(tmp_path / f"{size}.png")
    assert sorted(image.shape for image in resolve(tmp_path).load(range(3))) == [
        (3, 9, 8),
        (3, 13, 12),
        (3, 32, 31),
    ]
