"""All protocols by name, groups of them, and the lock that keeps a name's meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from evalkit.errors import UsageError, lookup
from evalkit.protocols import community, gan, latent, likelihood, restoration
from evalkit.protocols.spec import NeighbourOptions, Precision, ProtocolSpec

PROTOCOLS: Mapping[str, ProtocolSpec] = {
    spec.name: spec
    for spec in (
        *gan.PROTOCOLS,
        *community.PROTOCOLS,
        *latent.PROTOCOLS,
        *likelihood.PROTOCOLS,
        *restoration.PROTOCOLS,
    )
}

GROUPS: Mapping[str, tuple[str, ...]] = {
    "mini": ("fd_mini", "kd_mini", "is_mini", "prdc_mini"),
    "stylegan": ("fid50k_full", "kid50k_full", "pr50k3_full", "is50k"),
    "fidelity": ("fid", "kid", "is", "pr"),
    "equivariance": ("eqt_int", "eqt_frac", "eqr"),
    "equivariance50k": ("eqt50k_int", "eqt50k_frac", "eqr50k"),
    "mini_latent": ("ppl_mini", "ls_mini", "eqt_int", "eqt_frac", "eqr"),
    "sr": ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "lr_psnr"),
    "sr_mini": ("psnr_rgb", "ssim_rgb", "lpips_mini", "lr_psnr", "sr_diversity_mini", "sr_pixel_std"),
    "srflow": ("psnr_rgb_srflow", "ssim_rgb_srflow", "lpips_alex", "lr_psnr", "sr_pixel_std"),
    "ntire21": ("lpips_alex", "lr_psnr_ntire21", "lr_psnr_ntire21_worst", "sr_diversity"),
}

LOCK = Path(__file__).with_name("locked.json")


def locked_digests() -> dict[str, str]:
    """Locked digests by ``name/vN``. A digest here never changes; a changed protocol gets a new version."""
    locked: dict[str, str] = json.loads(LOCK.read_text(encoding="utf-8"))
    return locked


def any_number(spec: ProtocolSpec) -> str | None:
    """Name of the protocol that takes any number of what ``spec`` takes a fixed number of, or None.

    Of the metrics of images it follows torch-fidelity and may differ in settings; of those that ask a model
    it differs in the count alone.
    """
    if spec.capability is None:
        short = spec.name.split("50k")[0]
        return short if short in PROTOCOLS else None
    for other in PROTOCOLS.values():
        if other.num_fake is None and (other.options, other.extractor) == (spec.options, spec.extractor):
            return other.name
    return None


def spelled(name: str) -> ProtocolSpec | None:
    """The protocol of a name that is not listed since it follows a rule: ``bpd_iwae64``, ``psnr_y_best`` …

    Raises:
        UsageError: It nearly does, and there can be no such protocol.
    """
    return likelihood.importance_protocol(name) or restoration.of_samples(name)


def select(
    names: Sequence[str],
    *,
    layer: str | None = None,
    precision: Precision | None = None,
    k: int | None = None,
) -> list[ProtocolSpec]:
    """The protocols behind ``names`` (protocols or groups), in order, each once, varied as asked.

    Raises:
        UsageError: A name is unknown (the nearest are offered), no name was given, or a variation fits none
            of them.
    """
    known: dict[str, ProtocolSpec] = {**PROTOCOLS}
    for name in (part for given in names for part in GROUPS.get(given, (given,))):
        if (free := spelled(name)) is not None:
            known.setdefault(name, free)
    table: dict[str, tuple[str, ...]] = {**{name: (name,) for name in known}, **GROUPS}
    chosen = dict.fromkeys(part for name in names if name for part in lookup(name, table, "protocol"))
    if not chosen:
        raise UsageError("no metric was named; try --metrics mini, or `evalkit list protocols`")
    specs = [known[name] for name in chosen]
    if k is not None and k < 1:
        raise UsageError(f"k = {k}: nearest-neighbour metrics need k of 1 or more")
    if k is not None and not any(isinstance(spec.options, NeighbourOptions) for spec in specs):
        raise UsageError(f"--k {k} fits none of {', '.join(chosen)}; it belongs to pr, prdc and their kin")
    through_networks = any(spec.capability is None for spec in specs)
    changed = {"--layer": layer, "--precision": None if precision == "float32" else precision}
    for option, value in changed.items():
        if value is not None and not through_networks:
            raise UsageError(
                f"{option} {value} fits none of {', '.join(chosen)}: metrics of a model itself fix what they "
                "look through; leave it out"
            )
    return [spec.vary(layer=layer, precision=precision, k=k) for spec in specs]
