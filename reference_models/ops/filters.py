"""FIR filters: the preparation StyleGAN2 uses, and StyleGAN3's low-pass designs.

Karras et al. 2020 ("Analyzing and improving the image quality of StyleGAN") and Karras et al. 2021
("Alias-free generative adversarial networks", appendix C: Kaiser windows, jinc filters).

Official: NVlabs/stylegan3@c233a919a6faee6e36a316ddd4eddababad1adf9, torch_utils/ops/upfirdn2d.py and
training/networks_stylegan3.py. Differs: filters are computed in float64 and rounded to float32 once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from evalkit.errors import UsageError

Taps = float | Sequence[float] | Sequence[Sequence[float]] | npt.NDArray[np.floating] | torch.Tensor | None

# One-dimensional filters of at least so many taps stay one-dimensional: two short passes beat one long one.
_SEPARABLE_FROM = 8


def setup_filter(
    taps: Taps,
    *,
    separable: bool | None = None,
    normalise: bool = True,
    flip: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Prepares taps for `upfirdn2d`.

    Args:
        taps: A number, a list, or a list of lists; None is the identity.
        separable: Whether to keep a 1-D filter 1-D, to be used along x and along y. By default from 8 taps
            on; shorter ones become the outer product with themselves.
        normalise: Divide by the sum of the taps.
        flip: Mirror all axes.
        gain: What the filter as a whole is multiplied by (a 1-D filter is used twice and gets the root).

    Returns:
        float32, ``(taps,)`` or ``(taps_y, taps_x)``.

    Raises:
        UsageError: The taps have another shape, or their sum is zero and they were to be normalised.
    """
    if isinstance(taps, torch.Tensor):
        taps = taps.detach().cpu().numpy()
    try:
        f = np.atleast_1d(np.asarray(1.0 if taps is None else taps, np.float64))
    except (TypeError, ValueError):
        raise UsageError(
            f"the filter {taps!r} is no number, list or rectangular table of numbers; give e.g. [1, 3, 3, 1]"
        ) from None
    if f.ndim > 2 or f.size == 0:
        raise UsageError(f"a filter has 1 or 2 axes and at least one tap; the shape given is {f.shape}")
    if separable is None:
        separable = f.ndim == 1 and f.size >= _SEPARABLE_FROM
    if separable and f.ndim == 2:
        raise UsageError(
            f"separable=True needs the taps of one axis; the shape given is {f.shape}: give one row of it"
        )
    if f.ndim == 1 and not separable:
        f = np.outer(f, f)
    if normalise:
        if f.sum() == 0:
            raise UsageError("the taps add up to 0 and cannot be normalised; give normalise=False")
        f = f / f.sum()
    if flip:
        f = np.flip(f)
    return torch.as_tensor((f * gain ** (f.ndim / 2)).astype(np.float32))


def design_lowpass_filter(
    num_taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False
) -> torch.Tensor | None:
    """Low-pass filter of unit sum under a Kaiser window.

    Args:
        num_taps: Taps per axis; 1 means that no filter is needed.
        cutoff: Cutoff frequency.
        width: Full width of the transition band.
        rate: Sampling rate, in the units of ``cutoff`` and ``width``.
        radial: Rotationally symmetric in two dimensions (a jinc), instead of separable (a sinc).

    Returns:
        float32 ``(num_taps,)``, radial ``(num_taps, num_taps)``; None for one tap.

    Raises:
        UsageError: A number is out of range.
    """
    if num_taps < 1 or not 0 < cutoff or not 0 < width or not 0 < rate:
        raise UsageError(
            f"a low-pass filter needs 1 tap or more and positive frequencies; given are num_taps={num_taps}, "
            f"cutoff={cutoff}, width={width}, rate={rate}"
        )
    if num_taps == 1:
        return None
    k = np.arange(num_taps) - (num_taps - 1) / 2
    window = _kaiser(num_taps, width / (rate / 2))
    if radial:
        from scipy.special import j1

        r = np.hypot(k[:, None], k[None, :]) / rate
        away = np.where(r > 0, r, 1.0)
        f = np.where(r > 0, j1(2 * math.pi * cutoff * away) / (math.pi * away), cutoff)
        # J1(x) is x/2 near 0, which makes the middle tap of an odd filter the cutoff itself.
        f = f * np.outer(window, window)
    else:
        f = np.sinc(2 * cutoff * k / rate) * window
    return torch.as_tensor((f / f.sum()).astype(np.float32))


def _kaiser(num_taps: int, relative_width: float) -> npt.NDArray[np.float64]:
    # Kaiser's formulas: attenuation that the taps can reach in this width, then the window's parameter.
    attenuation = 2.285 * (num_taps - 1) * math.pi * relative_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    return np.kaiser(num_taps, beta)
