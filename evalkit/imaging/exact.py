"""Arithmetic as float32 promises it: small differences of images are measured, and must not be rounding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """No gradients, and no TF32 in convolutions: it would round every product to 10 bits."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.no_grad(), flags:
        yield
