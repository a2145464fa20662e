"""Points between two latents: along a line, and along a great circle of the unit sphere.

Convention: SPEC-stylegan section 7 (NVlabs/stylegan3@c233a91, metrics/perceptual_path_length.py): w is
interpolated linearly, z spherically (Shoemake 1985) between the unit vectors of both ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.errors import MetricError

if TYPE_CHECKING:
    from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Points on the lines from ``a`` to ``b``: ``a + (b - a) t``.

    Args:
        a: Floats ``(n, ...)``.
        b: Of the same shape.
        t: Places, 0 at ``a`` and 1 at ``b``: one for each row ``(n,)``, or one for all. Others extrapolate.

    Returns:
        ``(n, ...)`` in the wider type of the three; exactly ``a`` where ``t`` is 0.
    """
    a, b, t = _wide(a, b, t)
    return a + (b - a) * t


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Points on the great circles from the direction of ``a`` to that of ``b``, at even speed.

    With unit vectors a and b, ``d = a·b`` and ``c = unit(b - d a)`` this is ``unit(a cos p + c sin p)`` at
    ``p = t arccos d``. The angle is computed as ``atan2(|b - d a|, d)``: the same number, and unlike the
    arccosine exact for directions that are close.

    Args:
        a: Floats ``(n, d)``; lengths do not matter.
        b: Of the same shape.
        t: Places, 0 at ``a`` and 1 at ``b``: one for each row ``(n,)``, or one for all. Others go on along
            the circle.

    Returns:
        Unit vectors ``(n, d)`` in the wider type of the three. Between equal directions there is no way to
        go: all points are that direction.

    Raises:
        MetricError: A vector is zero, so it has no direction; or two directions are opposite to the last bit,
            so every great circle through one meets the other.
    """
    import torch

    a, b, t = _wide(a, b, t)
    a, b = _unit(a), _unit(b)
    d = (a * b).sum(dim=-1, keepdim=True)
    across = b - d * a
    length = across.norm(dim=-1, keepdim=True)
    if bool(((length == 0) & (d < 0)).any()):
        raise MetricError(
            "two latents point in opposite directions, and no great circle between them is the shortest; use "
            "latents of 2 or more numbers drawn from a continuous distribution, or a protocol in w"
        )
    p = t * torch.atan2(length, d)
    c = across / length.where(length > 0, torch.ones_like(length))
    return _unit(a * torch.cos(p) + c * torch.sin(p))


def _wide(a: Tensor, b: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    # All in the widest type, t with as many axes as the points.
    import torch

    places = torch.as_tensor(t, device=a.device) if isinstance(t, torch.Tensor) else a.new_tensor(t)
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), places.dtype)
    places = places.to(dtype)
    if places.ndim:
        places = places.reshape(-1, *(1,) * (a.ndim - 1))
    return a.to(dtype), b.to(dtype), places


def _unit(x: Tensor) -> Tensor:
    length = x.norm(dim=-1, keepdim=True)
    if not bool((length > 0).all()):
        raise MetricError(
            "a latent is zero or not a number, so it has no direction on the unit sphere; check what the "
            "model gives as its latents"
        )
    unit: Tensor = x / length
    return unit
