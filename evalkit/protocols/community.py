"""Other published conventions of the same metrics, each under a name of its own.

The resize alone moves FID by more than most papers' improvements, so it is never a flag: ``fid_clean`` is
clean-fid's number and ``fid_pytorch`` is pytorch-fid's.
"""

from __future__ import annotations

import dataclasses

from evalkit.protocols.gan import PROTOCOLS as GAN
from evalkit.protocols.spec import About, KernelOptions, ProtocolSpec

_BY_NAME = {spec.name: spec for spec in GAN}
_FID, _KID = _BY_NAME["fid"], _BY_NAME["kid"]
assert isinstance(_KID.options, KernelOptions)

PROTOCOLS: tuple[ProtocolSpec, ...] = (
    dataclasses.replace(
        _FID,
        name="fid_clean",
        resize="clean",
        about=About(
            title="Fréchet inception distance as clean-fid computes it (antialiased bicubic resize)",
            source="Parmar et al. 2022; GaParmar/clean-fid@e88c4d6 cleanfid/fid.py, resize.py",
            deviates="sums and means in float64; the resize runs in torch and differs by rounding from "
            "Pillow's",
        ),
    ),
    dataclasses.replace(
        _KID,
        name="kid_clean",
        resize="clean",
        options=dataclasses.replace(_KID.options, seed=0),
        about=About(
            title="Kernel inception distance as clean-fid computes it (antialiased bicubic resize)",
            source="Parmar et al. 2022; GaParmar/clean-fid@e88c4d6 cleanfid/fid.py, resize.py",
            deviates="subsets come from a seeded generator (seed 0), not from numpy's global one; sums in "
            "float64",
        ),
    ),
    dataclasses.replace(
        _FID,
        name="fid_pytorch",
        resize="half-pixel-bilinear",
        about=About(
            title="Fréchet inception distance as pytorch-fid computes it (half-pixel bilinear resize)",
            source="mseitzer/pytorch-fid@b9c1811 src/pytorch_fid/fid_score.py, inception.py",
            deviates="no 1e-6 on the diagonals: rank-deficient covariances need none",
        ),
    ),
)
