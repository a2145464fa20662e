"""Reference statistics: mean and covariance of real images' features, and a header saying what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.engine.device import pick_device
from evalkit.engine.distributed import world
from evalkit.engine.progress import Reporter, Silent
from evalkit.errors import ProtocolError, UsageError, lookup
from evalkit.features.catalog import load_extractor
from evalkit.features.extract import extract, feature_key
from evalkit.features.store import FeatureStore
from evalkit.files import cache_root
from evalkit.metrics.distribution.checks import check_features
from evalkit.metrics.moments import moments
from evalkit.metrics.rows import Reordered, canonical_order
from evalkit.protocols import catalog
from evalkit.protocols.spec import FrechetInfinityOptions, FrechetOptions, Precision
from evalkit.sources.resolve import resolve
from evalkit.sources.statistics import ReferenceStatistics, write_statistics


def build_reference(
    data: Any,  # noqa: ANN401 - everything `evalkit.sources.resolve` takes
    output: Path | str,
    *,
    protocol: str = "fid",
    layer: str | None = None,
    precision: Precision = "float32",
    limit: int | None = None,
    subset_seed: int | None = None,
    skip_broken: bool = False,
    root: Path | None = None,
    download: bool = False,
    device: str = "auto",
    batch_size: int = 64,
    weights_dir: Path | str | None = None,
    weights: Mapping[str, Path | str] | None = None,
    cache_dir: Path | str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Writes ``mu``, ``sigma`` and a JSON header to ``output``; pytorch-fid and clean-fid read the arrays.

    Args:
        data: Real images, in any form a source takes.
        output: The npz to write, atomically.
        protocol: The Fréchet protocol the statistics are for.
        layer: Another layer of the protocol's network.
        precision: Type of weights and activations.
        limit: Use so many of the images.
        subset_seed: Draw the limited ones at random by this seed.
        skip_broken: Leave unreadable images out.
        root: Folder of torchvision data sets.
        download: Allow a data set to be downloaded.
        device: Where the network runs.
        batch_size: Images read at a time.
        weights_dir: Folder of weight files.
        weights: Files to use for single networks, by name.
        cache_dir: Where features are kept.
        reporter: Where progress goes.

    Returns:
        The header.

    Raises:
        EvalkitError: The images cannot be read, or the protocol has no use for statistics.
    """
    if Path(output).suffix.lower() != ".npz":
        raise UsageError(f"{output}: end the name of the statistics in .npz, by which they are known again")
    spec = lookup(protocol, catalog.PROTOCOLS, "protocol").vary(layer=layer, precision=precision)
    if not isinstance(spec.options, (FrechetOptions, FrechetInfinityOptions)):
        raise ProtocolError(
            f"{spec.name} cannot be computed from a mean and a covariance; build statistics for a Fréchet "
            "distance (fid, fid50k_full, fid_clean, fd_mini)"
        )
    source = resolve(
        data, limit=limit, subset_seed=subset_seed, skip_broken=skip_broken, root=root, download=download
    )
    if isinstance(source, ReferenceStatistics):
        raise ProtocolError(f"{source.spec} holds statistics already; build them from images")
    out = reporter or Silent()
    num = len(source) if spec.num_real is None else min(spec.num_real, len(source))
    extractor = load_extractor(
        spec.extractor,
        layers=(spec.layer,),
        resize=spec.resize,
        precision=spec.precision,
        device=pick_device(device, world()),
        weights_dir=None if weights_dir is None else Path(weights_dir),
        overrides={key: Path(file) for key, file in (weights or {}).items()},
    )
    store = FeatureStore(cache_root(None if cache_dir is None else Path(cache_dir)) / "features")
    store.check_writable()
    table = store.table(feature_key(source, extractor, spec.layer), num)
    with out.track(f"data: {spec.extractor}") as progress:
        extract(source, extractor, {spec.layer: table}, store, batch_size=batch_size, progress=progress)
    check_features(table, "data")
    found = moments(Reordered(table, canonical_order(table)))
    header = {
        "format": "evalkit-reference-1",
        "protocol": spec.name,
        "protocol_digest": spec.digest,
        "extractor": spec.extractor,
        "layer": spec.layer,
        "resize": spec.resize,
        "precision": spec.precision,
        "weights_sha256": extractor.layer_sha256[spec.layer],
        "num": num,
        "ddof": spec.options.ddof,
        "source_spec": source.spec,
        "source_fingerprint": source.fingerprint,
    }
    write_statistics(Path(output), found.mean, found.covariance(spec.options.ddof), header)
    return header
