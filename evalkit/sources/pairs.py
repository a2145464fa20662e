"""Pairs for restoration: originals, their low-resolution images and, where they are given, restorations.

Originals are cropped at the bottom and the right to multiples of the scale, as is done before they are
downscaled (Lim et al. 2017 and all benchmarks since). Low-resolution images come from files
(`evalkit.sources.pairs_names` has the rules of names), or are made from the cropped originals by MATLAB's
bicubic ``imresize`` (`evalkit.imaging.resize_matlab`), rounded to uint8 after each pass. Sources without
files are paired by their order: restorations of one original follow each other. Alpha, 16 bits and the rest
are treated as `evalkit.sources.decode` says.

The sizes of all images are looked at before anything is computed: nothing is resized, padded or cut to fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evalkit.digest import digest
from evalkit.errors import SourceError, UsageError
from evalkit.imaging.resize_matlab import downscale
from evalkit.sources.base import Form, ImageSource, UInt8Array, combine_digests
from evalkit.sources.pairs_names import match_low, match_restored, originals, stems
from evalkit.sources.resolve import resolve
from evalkit.sources.subset import SubsetSource, all_broken, choose

LowFrom = Literal["files", "matlab-bicubic"]


class Pairs:
    """Originals with what belongs to each, by the index of the original; `open_pairs` makes them.

    Attributes:
        scale: How many times as high and as wide an original is as its low-resolution image.
        names: Of the originals: the path of the file without its ending, or ``00000`` where there is no file.
        num_samples: Restorations of each original; 0 where none were given.
        lr_from: ``files``, or ``matlab-bicubic`` where they are made here.
        spec: How the originals (and low-resolution images) were named by the user.
        sr_spec: How the restorations were named; empty where none were given.
        broken: Names of the originals that were left out since they, or what belongs to them, cannot be read.
    """

    def __init__(
        self,
        high: SubsetSource,
        low: SubsetSource | None,
        restored: SubsetSource | None,
        *,
        scale: int,
        names: tuple[str, ...],
        num_samples: int,
        stated: tuple[str, ...] = (),
        broken: tuple[str, ...] = (),
    ) -> None:
        """Takes sources in one order, restorations original by original, and checks all sizes.

        Raises:
            SourceError: A size does not fit, or an image cannot be read.
        """
        self.scale, self.names, self.num_samples, self.broken = scale, names, num_samples, broken
        self.lr_from: LowFrom = "matlab-bicubic" if low is None else "files"
        self.spec = high.spec if low is None else f"{high.spec} with {low.spec}"
        self.sr_spec = "" if restored is None else restored.spec
        self._high, self._low, self._restored, self._stated = high, low, restored, stated
        self._forms = high.forms(range(len(high)))
        self._check_sizes()

    def __len__(self) -> int:
        return len(self.names)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the original, cropped; nothing is decoded."""
        return self._fitting(self._forms[index])

    def hr(self, index: int) -> UInt8Array:
        """The original, cropped: uint8 RGB ``(3, h * scale, w * scale)``."""
        height, width = self.size(index)
        return np.array(self._high.load([index])[0][:, :height, :width])

    def lr(self, index: int) -> UInt8Array:
        """The low-resolution image: uint8 RGB ``(3, h, w)``."""
        if self._low is None:
            made: UInt8Array = downscale(self.hr(index), self.scale)
            return made
        return self._low.load([index])[0]

    def sr(self, index: int, sample: int) -> UInt8Array:
        """One restoration that was given: uint8 RGB ``(3, h * scale, w * scale)``.

        Raises:
            UsageError: There is none of this number.
        """
        if self._restored is None or not 0 <= sample < self.num_samples:
            raise UsageError(
                f"there is no restoration {sample} of {self.names[index]}: {self.num_samples} of each "
                "were given"
            )
        return self._restored.load([index * self.num_samples + sample])[0]

    def grey(self, index: int) -> bool:
        """Whether the original is stored with one channel of colour; grey stored as RGB is not."""
        return self._forms[index].grey

    @property
    def fingerprint(self) -> str:
        """Digest of the content of originals and low-resolution images, and of the scale."""
        low = self.lr_from if self._low is None else self._low.fingerprint
        return digest(
            ["evalkit-pairs-1", self.scale, self._high.fingerprint, low, [f.grey for f in self._forms]]
        )

    @property
    def sr_fingerprint(self) -> str:
        """Digest of the content of the restorations; of none where none were given."""
        content = combine_digests((), None) if self._restored is None else self._restored.fingerprint
        return digest(["evalkit-restored-1", self.num_samples, content])

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a record should carry about how the images were read and paired."""
        found = list(self._stated)
        sizes = [(form, self._fitting(form)) for form in self._forms]
        cut = [place for place, (form, (h, w)) in enumerate(sizes) if (form.height, form.width) != (h, w)]
        if cut:
            form, (height, width) = sizes[cut[0]]
            found.append(
                f"{len(cut):,} of {len(self):,} originals are cropped at the bottom and the right to "
                "multiples of "
                f"{self.scale}, such as {self.names[cut[0]]} from {_size(form)} to {width}x{height}"
            )
        if self._low is None:
            found.append(
                f"low-resolution images are made from the originals by MATLAB's bicubic imresize at "
                f"1/{self.scale}"
            )
        if grey := sum(form.grey for form in self._forms):
            found.append(
                f"{grey:,} of {len(self):,} originals are stored grey and are repeated to three channels"
            )
        roles = (
            ("originals", self._high),
            ("low-resolution images", self._low),
            ("restorations", self._restored),
        )
        for role, source in roles:
            if source is not None:
                found += [f"{role}: {note}" for note in source.notes]
        return tuple(found)

    def _fitting(self, form: Form) -> tuple[int, int]:
        return form.height // self.scale * self.scale, form.width // self.scale * self.scale

    def _check_sizes(self) -> None:
        scale, num = self.scale, len(self)
        for index, form in enumerate(self._forms):
            if min(form[:2]) < scale:
                raise SourceError(
                    f"{self._high.item_name(index)} is {_size(form)} and cannot be the original of "
                    "anything at scale "
                    f"{scale}; leave it out, or lower the scale"
                )
        for index, form in enumerate(self._low.forms(range(num)) if self._low is not None else ()):
            self._check_low(index, form)
        count = num * self.num_samples
        for place, form in enumerate(
            self._restored.forms(range(count)) if self._restored is not None else ()
        ):
            self._check_restored(place, form)

    def _check_low(self, index: int, form: Form) -> None:
        assert self._low is not None
        original, scale = self._forms[index], self.scale
        height, width = (side // scale for side in self._fitting(original))
        if form[:2] == (height, width):
            return
        name, whole = self._low.item_name(index), (-(-original.height // scale), -(-original.width // scale))
        if form[:2] == whole:
            raise SourceError(
                f"{name} is {_size(form)}: it was made from the whole original ({_size(original)}), "
                "whose sides are "
                f"no multiples of {scale}, so that its pixels do not lie on the original's; crop "
                "originals to "
                f"multiples of {scale} first, which gives {width}x{height}, or leave --lr out and it is "
                "made here"
            )
        raise SourceError(
            f"{name} is {_size(form)} and its original {self._high.item_name(index)} is "
            f"{_size(original)}; at scale "
            f"{scale} expected is {width}x{height}: check the scale and that the two belong together"
        )

    def _check_restored(self, place: int, form: Form) -> None:
        assert self._restored is not None
        index = place // self.num_samples
        height, width = self._fitting(self._forms[index])
        if form[:2] == (height, width):
            return
        original = self._forms[index]
        why = f"expected is {width}x{height}"
        if (height, width) != original[:2]:
            cut = f"cropped at the bottom and right to multiples of {self.scale}"
            why += f", the original's {_size(original)} {cut}"
        off = max(abs(form.height - height), abs(form.width - width))
        raise SourceError(
            f"{self._restored.item_name(place)} is {_size(form)} and is no restoration of "
            f"{self.names[index]} at scale "
            f"{self.scale}: {why}"
            + (f" (it is off by {'a pixel' if off == 1 else f'{off} pixels'})" if off < self.scale else "")
            + "; write it in that size, since nothing is resized to fit"
        )


def open_pairs(
    hr: Any,  # noqa: ANN401 - whatever `resolve` takes
    *,
    scale: int,
    lr: Any = None,  # noqa: ANN401
    sr: Any = None,  # noqa: ANN401
    samples: int | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
    root: Path | None = None,
    download: bool = False,
) -> Pairs:
    """Opens originals with what belongs to them, and checks that all of it fits.

    Args:
        hr: The originals: what `evalkit.sources.resolve.resolve` takes, or a source.
        scale: A whole number from 2 up; 1, for the removal of noise and such, where ``lr`` is given.
        lr: The low-resolution images; made from the originals where None.
        sr: Restorations, one or several of each original.
        samples: How many restorations of each to use, the first ones; all where None. Only with ``sr``.
        limit: Use so many originals, the first ones.
        skip_broken: Decode all images once, and leave out originals that cannot be read, or of which what
            belongs to them cannot.
        root: Folder of torchvision data sets.
        download: Allow a data set to be downloaded.

    Raises:
        UsageError: A number cannot be, or one folder was given twice.
        SourceError: Nothing is there, a partner is missing or left over, or sizes do not fit.
    """
    _check_numbers(scale, samples, lr is not None)
    _check_distinct({"--hr": hr, "--lr": lr, "--sr": sr})
    high = _open(hr, root, download)
    low = None if lr is None else _open(lr, root, download)
    restored = None if sr is None else _open(sr, root, download)
    names, stated = originals(high), []
    chosen = choose(len(high), high.spec, limit, None) or list(range(len(high)))
    wanted = range(len(high)) if skip_broken else chosen

    lows: dict[int, int] = {}
    if low is not None and stems(low) is not None:
        lows = match_low(names, low, scale, chosen)
    elif low is not None:
        _count_in_order(low, len(high), limit, "low-resolution image", 1)
        lows = {index: index for index in wanted if index < len(low)}
        stated.append(f"low-resolution images of {low.spec} belong to the originals by their order")
    several: dict[int, list[int]] = {}
    count = 0
    if restored is not None:
        if stems(restored) is not None:
            several = match_restored(names, restored, scale, chosen)
        else:
            each = _count_in_order(restored, len(high), limit, "restoration", None)
            several = {
                i: list(range(i * each, (i + 1) * each)) for i in wanted if (i + 1) * each <= len(restored)
            }
            stated.append(
                f"restorations of {restored.spec} belong to the originals by their order, {each} of each"
            )
        count, said = _take(several, chosen, samples, restored.spec)
        stated += said
    broken: tuple[str, ...] = ()
    if skip_broken:
        readable, broken = _readable(high, low, restored, lows, several, count)
        if not readable:
            raise all_broken(high.spec, broken)
        chosen = readable if limit is None else readable[:limit]
    return Pairs(
        SubsetSource(high, chosen),
        None if low is None else SubsetSource(low, [lows[index] for index in chosen]),
        None
        if restored is None
        else SubsetSource(restored, [place for index in chosen for place in several[index][:count]]),
        scale=scale,
        names=tuple(names[index] for index in chosen),
        num_samples=count,
        stated=tuple(stated),
        broken=broken,
    )


def _open(given: Any, root: Path | None, download: bool) -> ImageSource:  # noqa: ANN401
    found = resolve(given, root=root, download=download)
    if not isinstance(found, ImageSource):
        raise UsageError(f"{found.spec} holds statistics, and restoration compares images; give the images")
    return found


def _check_numbers(scale: int, samples: int | None, low_given: bool) -> None:
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise UsageError(f"the scale is {scale!r}; give a whole number from 2 up, such as 4")
    if scale == 1 and not low_given:
        raise UsageError(
            "at scale 1 the images to restore are as large as their originals and cannot be made by "
            "resizing; "
            "give them with --lr, or a scale from 2 up"
        )
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 1):
        raise UsageError(f"samples is {samples!r}; give how many restorations of each original, 1 or more")


def _check_distinct(given: dict[str, Any]) -> None:
    seen: dict[Any, str] = {}
    for flag, value in given.items():
        if isinstance(value, (str, Path)):
            key: Any = Path(value).resolve() if Path(value).exists() else str(value)
        else:
            key = id(value)
        if value is not None and key in seen:
            raise UsageError(
                f"{seen[key]} and {flag} are the same images"
                f"{f', {value}' if isinstance(value, (str, Path)) else ''}; give a folder for each"
            )
        seen[key] = flag


def _count_in_order(source: ImageSource, num: int, limit: int | None, kind: str, each: int | None) -> int:
    """How many of each original a source without files holds."""
    # With fewer than all originals would have, the source can only be of the limited ones.
    base = limit if limit is not None and len(source) < num else num
    count, over = divmod(len(source), base)
    if over or not count or (each is not None and count != each):
        wanted = f"{each * base:,}" if each is not None else f"a multiple of {base:,}"
        raise SourceError(
            f"{source.spec} holds {len(source):,} images and there are {base:,} originals; without file "
            "names they "
            f"are paired by their order, so expected is {wanted}: "
            + ("one each" if each == 1 else f"the {kind}s of the first original, then those of the second …")
        )
    return count


def _take(
    several: dict[int, list[int]], chosen: Sequence[int], samples: int | None, spec: str
) -> tuple[int, list[str]]:
    """How many restorations of each original to use, and what to say of it."""
    there = len(several[chosen[0]])
    if samples is None or samples == there:
        return there, []
    if samples > there:
        raise SourceError(
            f"{spec} holds {there} restoration{'s' if there > 1 else ''} of each original and --samples "
            "asks for "
            f"{samples}; lower it, or leave it out to use all"
        )
    return samples, [f"the first {samples} of {there} restorations of each original are used"]


def _readable(
    high: ImageSource,
    low: ImageSource | None,
    restored: ImageSource | None,
    lows: dict[int, int],
    several: dict[int, list[int]],
    count: int,
) -> tuple[list[int], tuple[str, ...]]:
    """The originals that can be used, and the names of those that cannot since something cannot be read."""
    good: list[int] = []
    broken: list[str] = []
    for index in range(len(high)):
        if (low is not None and index not in lows) or len(several.get(index, ())) < count:
            continue  # beyond the limit: those within it were found to have all
        try:
            high.load([index])
            if low is not None:
                low.load([lows[index]])
            if restored is not None:
                restored.load(several[index][:count])
            good.append(index)
        except SourceError:
            broken.append(high.item_name(index))
    return good, tuple(broken)


def _size(form: Form) -> str:
    return f"{form.width}x{form.height}"
