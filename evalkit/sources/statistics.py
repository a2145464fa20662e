"""Reference statistics: the mean and covariance of real images' features, in place of the images.

Read are evalkit's own files, pytorch-fid's (mseitzer/pytorch-fid@b9c1811, ``mu`` and ``sigma``), clean-fid's
(GaParmar/clean-fid@e88c4d6, the same arrays; told by the mode in its file names) and ADM's
(openai/guided-diffusion@22e0df8, with ``mu_s`` and ``sigma_s`` of the spatial features). An npz is a file of
statistics if it has ``mu`` and ``sigma``; images that lie beside them, as in ADM's reference batches, are
``file.npz:arr_0``. How many images are behind the numbers, and what their covariance was divided by, is known
for evalkit's own alone: the others state neither (all three programs divide by n - 1).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evalkit.digest import canonical_json
from evalkit.errors import SourceError
from evalkit.files import atomic_write
from evalkit.sources.npz import Header, read_array, read_headers

FloatArray = npt.NDArray[np.float64]
Format = Literal["evalkit", "pytorch-fid", "adm", "clean-fid"]

HEADER_FORMAT = "evalkit-reference-1"
_REQUIRED: Mapping[str, type | tuple[type, ...]] = {
    "protocol": str,
    "extractor": str,
    "layer": str,
    "resize": str,
    "precision": str,
    "weights_sha256": str,
    "num": int,
    "ddof": int,
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReferenceStatistics:
    """Mean and covariance of the features of real images.

    Attributes:
        spec: What the user typed.
        format: Whose file it is.
        mu: Mean, ``(d,)``.
        sigma: Covariance, ``(d, d)``.
        mu_s: Mean of ADM's spatial features; None elsewhere.
        sigma_s: Their covariance; None elsewhere.
        num: Number of images, where the file states it.
        ddof: The covariance was divided by ``num - ddof``, where the file states it.
        header: What evalkit's own file says of itself; empty elsewhere.
        fingerprint: sha256 over the arrays and the header.
        resizes: Resizes its images may have had: what its header, its kind or its file name says; several
            where that leaves it open.
    """

    spec: str
    format: Format
    mu: FloatArray
    sigma: FloatArray
    mu_s: FloatArray | None = None
    sigma_s: FloatArray | None = None
    num: int | None = None
    ddof: int | None = None
    header: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fingerprint: str
    resizes: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a record should say about where the numbers come from."""
        if self.format == "evalkit":
            return ()
        return (
            f"a statistics file of {self.format}'s kind, which does not state its protocol, weights or "
            "number of images: the number stands if they are those of the protocol",
        )


def is_statistics(headers: Mapping[str, Header]) -> bool:
    """Whether an npz with these arrays holds statistics rather than images."""
    return "mu" in headers and "sigma" in headers


def read_statistics(path: Path, spec: str | None = None) -> ReferenceStatistics:
    """Reads and checks a file of reference statistics.

    Raises:
        SourceError: The file is damaged, or its arrays are no mean and covariance.
    """
    spec = str(path) if spec is None else spec
    headers = read_headers(path)
    if not is_statistics(headers):
        there = ", ".join(headers) or "nothing"
        raise SourceError(f"{spec} holds no reference statistics: needed are mu and sigma, it holds {there}")
    mu, sigma = _gaussian(path, spec, headers, "mu", "sigma")
    spatial: tuple[FloatArray, FloatArray] | tuple[None, None] = (None, None)
    if "mu_s" in headers and "sigma_s" in headers:
        spatial = _gaussian(path, spec, headers, "mu_s", "sigma_s")
    header = _header(path, spec, headers)
    kind, resizes = _origin(path, headers, header)
    return ReferenceStatistics(
        spec=spec,
        format=kind,
        resizes=resizes,
        mu=mu,
        sigma=sigma,
        mu_s=spatial[0],
        sigma_s=spatial[1],
        num=header.get("num"),
        ddof=header.get("ddof"),
        header=header,
        fingerprint=_fingerprint(header, (mu, sigma, *spatial)),
    )


def write_statistics(path: Path, mu: FloatArray, sigma: FloatArray, header: Mapping[str, Any]) -> None:
    """Writes ``mu``, ``sigma`` and a JSON header, atomically; pytorch-fid and clean-fid read the arrays.

    Raises:
        StoreError: The file cannot be written.
    """
    with atomic_write(path) as file:
        np.savez(
            file,
            mu=np.asarray(mu, dtype=np.float64),
            sigma=np.asarray(sigma, dtype=np.float64),
            header=np.array(canonical_json(header)),
        )


# How the modes in clean-fid's file names resize (GaParmar/clean-fid@e88c4d6, cleanfid/features.py).
_CLEAN_FID_MODES = {
    "clean": "clean",
    "legacy_tensorflow": "tf1-bilinear",
    "legacy_pytorch": "half-pixel-bilinear",
}


def _origin(
    path: Path, headers: Mapping[str, Header], header: Mapping[str, Any]
) -> tuple[Format, tuple[str, ...]]:
    if "header" in headers:
        return "evalkit", (header["resize"],)
    if "mu_s" in headers and "sigma_s" in headers:
        return "adm", ("tf1-bilinear",)  # its evaluator resizes inside the TensorFlow graph
    if named := re.search(r"_(clean|legacy_tensorflow|legacy_pytorch)_", path.name):
        return "clean-fid", (_CLEAN_FID_MODES[named[1]],)
    # The same two arrays are written by TTUR's script (inside the graph) and by pytorch-fid (half-pixel).
    return "pytorch-fid", ("tf1-bilinear", "half-pixel-bilinear")


def _gaussian(
    path: Path, spec: str, headers: Mapping[str, Header], mean: str, covariance: str
) -> tuple[FloatArray, FloatArray]:
    for name in (mean, covariance):
        if not np.issubdtype(headers[name].dtype, np.floating):
            raise SourceError(f"{spec}: {name} is {headers[name]}; statistics are floats")
    width = headers[mean].shape
    if len(width) != 1 or not width[0] or headers[covariance].shape != width * 2:
        raise SourceError(
            f"{spec}: {mean} has shape {width} and {covariance} {headers[covariance].shape}; expected are "
            "(d,) and (d, d)"
        )
    mu = np.asarray(read_array(path, mean), dtype=np.float64)
    sigma = np.asarray(read_array(path, covariance), dtype=np.float64)
    for name, values in ((mean, mu), (covariance, sigma)):
        if not np.isfinite(values).all():
            raise SourceError(f"{spec}: {name} holds NaN or infinite values; build the statistics again")
    scale = float(np.abs(sigma).max())
    if float(np.abs(sigma - sigma.T).max()) > 1e-5 * scale:
        raise SourceError(f"{spec}: {covariance} is not symmetric, so it is no covariance; build it again")
    if scale == 0 or float(sigma.diagonal().min()) < 0:
        raise SourceError(
            f"{spec}: the diagonal of {covariance} has negative values or is all zero, so it is no "
            "covariance of features; build it again"
        )
    return mu, sigma


def _header(path: Path, spec: str, headers: Mapping[str, Header]) -> dict[str, Any]:
    if "header" not in headers:
        return {}
    try:
        header = json.loads(str(read_array(path, "header")[()]))
        made_by = header["format"]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise SourceError(
            f"{spec}: its header is no JSON of evalkit's; build it again by `evalkit ref build`"
        ) from error
    if made_by != HEADER_FORMAT:
        raise SourceError(
            f"{spec} is of format {made_by!r} and this version reads {HEADER_FORMAT!r}; build it again by "
            "`evalkit ref build`, or use the version of evalkit that made it"
        )
    wrong = [name for name, kind in _REQUIRED.items() if not isinstance(header.get(name), kind)]
    if wrong:
        raise SourceError(
            f"{spec}: its header lacks {', '.join(wrong)}; build it again by `evalkit ref build`"
        )
    return dict(header)


def _fingerprint(header: Mapping[str, Any], arrays: tuple[FloatArray | None, ...]) -> str:
    total = hashlib.sha256(b"evalkit-statistics-1" + canonical_json(header).encode())
    for values in arrays:
        if values is not None:
            total.update(str(values.shape).encode())
            total.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return total.hexdigest()
