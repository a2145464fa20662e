"""Protocols of likelihood: bits per dimension of real images, by bound, posterior samples and bit depth.

Three repositories print three units of two bounds of one quantity (openai/vdvae@ea35b49 `train.py`,
NVlabs/NVAE@9fc1a28 `train.py`, andreas128/SRFlow@5a007ad `code/models/SRFlow_model.py`); these protocols have
one unit, and the bound in the name. All real images take part, the last partial batch included. An
importance-weighted protocol exists for any K; those of usual K are listed.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from evalkit.errors import UsageError
from evalkit.protocols.spec import About, LikelihoodOptions, ProtocolSpec

_ALL: dict[str, Any] = {
    "extractor": "none", "layer": "nats", "resize": "none", "precision": "float32", "num_real": None,
    "num_fake": None,
}  # fmt: skip
_IWAE = re.compile(r"bpd_iwae(?P<k>\d+)(?P<five>_5bit)?")
_USUAL_K = (10, 100, 1000)
# More would take days on any image; a name with such a number is a slip.
_MOST_K = 1_000_000
_SEEDS = (
    "posterior samples come from seeds, one for each image and sample, not from one stream of the device; "
    "the last partial batch counts, and every image as much"
)

Bits = Literal[8, 5]


def _protocol(
    name: str,
    bits: Bits,
    bound: Literal["exact", "elbo", "iwae"],
    title: str,
    source: str,
    *,
    k: int | None = None,
    deviates: str = "",
) -> ProtocolSpec:
    return ProtocolSpec(
        name=f"{name}{'' if bits == 8 else '_5bit'}",
        version=1,
        **_ALL,
        options=LikelihoodOptions(bound=bound, num_importance=k, bits=bits),
        about=About(
            title=f"Bits per dimension {title}{'' if bits == 8 else ', of 5-bit images'}",
            source=source,
            deviates=deviates,
        ),
    )


def _iwae(k: int, bits: Bits) -> ProtocolSpec:
    return _protocol(
        f"bpd_iwae{k}", bits, "iwae", f"by the importance-weighted bound of {k:,} samples",
        "Burda et al. 2016, eq. 8; NVlabs/NVAE@9fc1a28 train.py", k=k, deviates=_SEEDS,
    )  # fmt: skip


def _family(bits: Bits) -> tuple[ProtocolSpec, ...]:
    return (
        _protocol(
            "bpd_elbo", bits, "elbo", "by the evidence lower bound, one posterior sample",
            "Child 2021, eq. 1; openai/vdvae@ea35b49 train.py", deviates=_SEEDS,
        ),
        *(_iwae(k, bits) for k in _USUAL_K),
        _protocol(
            "bpd_exact", bits, "exact", "of a likelihood in closed form",
            "Theis et al. 2016, section 3.1; evalkit",
        ),
    )  # fmt: skip


def importance_protocol(name: str) -> ProtocolSpec | None:
    """The importance-weighted protocol of that name, for any K; None where the name is of another form.

    Raises:
        UsageError: K is 0, or absurd.
    """
    found = _IWAE.fullmatch(name)
    if found is None:
        return None
    k = int(found["k"])
    if not 1 <= k <= _MOST_K or found["k"] != str(k):
        raise UsageError(
            f"{name}: K = {found['k']} posterior samples cannot be; give a whole number from 1 to "
            f"{_MOST_K:,}, such as bpd_iwae100"
        )
    return _iwae(k, 5 if found["five"] else 8)


PROTOCOLS: tuple[ProtocolSpec, ...] = (*_family(8), *_family(5))
