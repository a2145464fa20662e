"""Images that come with the packages evalkit needs anyway: scikit-learn's handwritten digits.

``bundled:digits`` is the test set of the UCI optical digits (Alpaydin and Kaynak 1998): 1,797 images of 8x8
with 17 grey levels and labels 0 to 9. Here a level v becomes round(255 v / 16), each pixel a square of 4x4,
and grey is repeated, which makes 32x32 RGB. ``train`` are the images of even index (899) and ``test`` those
of odd index (898), so that all writers are in both; ``all`` are both in the original order.
"""

from __future__ import annotations

import numpy as np

from evalkit.errors import lookup
from evalkit.sources.arrays import ArraySource

SCALE = 4
SPLITS = {"train": slice(0, None, 2), "test": slice(1, None, 2), "all": slice(None)}


def open_bundled(name: str, split: str = "all") -> ArraySource:
    """``bundled:digits``, or one split of it.

    Raises:
        UsageError: The name or the split is unknown.
    """
    lookup(name, {"digits": None}, "source")
    chosen = lookup(split, SPLITS, "source")
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    large = grey.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
    images = np.repeat(large[..., None], 3, axis=3)
    spec = f"bundled:{name}" if split == "all" else f"bundled:{name}:{split}"
    return ArraySource(images, digits.target[chosen].astype(np.int64), spec)
