"""What a protocol looks through: a network, a perceptual distance, attribute classifiers, or nothing.

One place that knows which of them a protocol names, where it was published, which files feed it, and whether
these are at hand. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from evalkit.features.catalog import EXTRACTORS, Readiness, weights_status
from evalkit.features.lpips import DISTANCES
from evalkit.features.perceptual import DISTS, DISTS_PACKAGE, DISTS_SOURCE, JUDGES
from evalkit.features.weights import WEIGHTS, lacking_package, status, weights_dir
from evalkit.protocols.restoration_options import ConditionalLikelihoodOptions
from evalkit.protocols.spec import LikelihoodOptions, ProtocolSpec, SeparabilityOptions

ANY_BUNDLE = "attributes"  # the extractor of protocols whose bundle the user names
NAME_A_BUNDLE = (
    "name a bundle of attribute classifiers with --attributes: digits, or a file that `evalkit attributes "
    "train` wrote"
)


class Judge(NamedTuple):
    """What is known of it without loading it.

    Attributes:
        source: Where it was published.
        weights: Entries of the weights catalogue that can feed it.
    """

    source: str
    weights: tuple[str, ...]


def judge_of(spec: ProtocolSpec) -> Judge:
    """What ``spec`` looks through."""
    if spec.extractor in DISTANCES:
        info = DISTANCES[spec.extractor]
        return Judge(info.source, (info.weights,))
    if spec.extractor == DISTS:
        return Judge(DISTS_SOURCE, (JUDGES[DISTS],))
    if isinstance(spec.options, SeparabilityOptions):
        known = (spec.extractor,) if spec.extractor in WEIGHTS else ()
        return Judge("evalkit: classifiers of binary attributes, one bundle a data set", known)
    if isinstance(spec.options, (LikelihoodOptions, ConditionalLikelihoodOptions)):
        return Judge("none: the model itself says how likely images are", ())
    if spec.capability is not None:
        return Judge("none: images are compared pixel by pixel", ())
    network = EXTRACTORS[spec.extractor]
    return Judge(network.source, network.weights)


def readiness(spec: ProtocolSpec, folder: Path | str | None = None) -> Readiness:
    """Whether ``spec`` can run now as far as weights go, and what to do if it cannot.

    Args:
        spec: The protocol.
        folder: Folder of weight files.
    """
    if spec.capability is None:
        return weights_status(spec.extractor, (spec.layer,), weights_dir=folder)
    if spec.extractor == ANY_BUNDLE:
        return Readiness(ok=False, detail=NAME_A_BUNDLE)
    if spec.extractor == DISTS and (lacking := lacking_package(**DISTS_PACKAGE)):
        return Readiness(ok=False, detail=lacking)
    for name in judge_of(spec).weights:
        found = status(WEIGHTS[name], weights_dir(folder))
        if found.state != "ok":
            what = f"the weights {name} cannot be used ({found.state}): {found.detail}"
            return Readiness(ok=False, detail=what)
        return Readiness(ok=True, detail=str(found.path))
    return Readiness(ok=True, detail="no weights are needed")
