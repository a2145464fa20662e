"""The catalogue of network weights: where they are, whether they are whole, and how to get them.

A file from the catalogue is used only if its sha256 is the published one; of files whose publisher gives
eight digits in the name, those are compared, as ``torch.hub`` does (docs/adr/0004). Nothing is downloaded
but by `fetch`. Imports no torch.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from evalkit.errors import UsageError, WeightsError, lookup, nearest
from evalkit.features.download import Progress, download
from evalkit.features.tensors import check_suffix
from evalkit.files import cache_root, explain_os_errors, sha256_file

State = Literal["ok", "missing", "partial", "wrong"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WeightsEntry:
    """One weight file of the catalogue.

    Attributes:
        name: What users type.
        filename: Its name in the weights folder.
        aliases: Names under which others publish the same content.
        url: Where `fetch` gets it; None for a file that ships with the package or is given by hand.
        sha256: Its checksum, or the first digits of it where no more is published.
        size: Its bytes, where known.
        licence: Under which it may be used.
        layers: The layers it can serve; None for all of its network.
        bundled: Whether it ships with the package.
        what: One line for listings.
    """

    name: str
    filename: str
    sha256: str
    licence: str
    what: str
    aliases: tuple[str, ...] = ()
    url: str | None = None
    size: int | None = None
    layers: tuple[str, ...] | None = None
    bundled: bool = False

    def serves(self, layers: Sequence[str]) -> bool:
        """Whether it holds the tensors of all of ``layers``."""
        return self.layers is None or set(layers) <= set(self.layers)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WeightsStatus:
    """Whether a weight file can be used.

    Attributes:
        state: ``ok``; ``missing``; ``partial``, an unfinished download; ``wrong``, another content.
        path: Where it is, or would be.
        detail: What was found and, unless ``ok``, what to do.
    """

    state: State
    path: Path
    detail: str


WEIGHTS: Mapping[str, WeightsEntry] = {
    entry.name: entry
    for entry in (
        WeightsEntry(
            name="inception-tf2015",
            filename="weights-inception-2015-12-05-6726825d.pth",
            aliases=("pt_inception-2015-12-05-6726825d.pth",),
            url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth",
            sha256="6726825d",
            licence="Apache-2.0 (The TensorFlow Authors)",
            what="the FID Inception network, all layers",
        ),
        WeightsEntry(
            name="inception-tf2015-stem192",
            filename="inception_2015_12_05_stem192.npz",
            sha256="4cf09cab5123a9a26d8cdb7eb115866616767437cd8e1e47ad9db13b29b4ed50",
            size=651_991,
            licence="Apache-2.0 (The TensorFlow Authors)",
            layers=("64", "192"),
            what="the first layers of the FID Inception network, for layers 64 and 192",
        ),
        WeightsEntry(
            name="vgg16",
            filename="vgg16-397923af.pth",
            url="https://download.pytorch.org/models/vgg16-397923af.pth",
            sha256="397923af",
            licence="BSD-3-Clause (torchvision)",
            what="VGG16 trained on ImageNet, for improved precision and recall, path lengths and LPIPS",
        ),
        WeightsEntry(
            name="alexnet",
            filename="alexnet-owt-7be5be79.pth",
            url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            sha256="7be5be79",
            licence="BSD-3-Clause (torchvision)",
            what="AlexNet trained on ImageNet, for LPIPS and the diversity of restorations",
        ),
        WeightsEntry(
            name="squeezenet",
            filename="squeezenet1_1-b8a52dc0.pth",
            url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
            sha256="b8a52dc0",
            licence="BSD-3-Clause (torchvision)",
            what="SqueezeNet 1.1 trained on ImageNet, for LPIPS",
        ),
        WeightsEntry(
            name="mini",
            filename="mini-v1.safetensors",
            sha256="126daea81ab3b358c10163183bd05cf924f7476364ddd8e1734f3bac6547daae",
            size=943_204,
            licence="Apache-2.0 (evalkit)",
            bundled=True,
            what="the bundled CIFAR-10 classifier",
        ),
        WeightsEntry(
            name="attributes-digits",
            filename="attributes-digits-v1.safetensors",
            sha256="6d5260a468633507a9331345ed31567c4531bbdc7b3e3e49c5a87040b02bf8e9",
            size=228_844,
            licence="Apache-2.0 (evalkit)",
            bundled=True,
            what="the bundled classifiers of digits, for linear separability",
        ),
    )
}

_PACKAGE_DATA = Path(__file__).parent / "data"


def entry(name: str) -> WeightsEntry:
    """The entry of the catalogue called ``name``.

    Raises:
        UsageError: There is none; the nearest names are offered.
    """
    return lookup(name, WEIGHTS, "weight")


def weights_dir(given: Path | str | None = None) -> Path:
    """Where weight files are kept: ``given``, else ``$EVALKIT_WEIGHTS``, else ``weights`` in the cache."""
    if given is not None:
        return Path(given)
    if from_environment := os.environ.get("EVALKIT_WEIGHTS"):
        return Path(from_environment)
    return cache_root() / "weights"


def status(entry: WeightsEntry, folder: Path) -> WeightsStatus:
    """Whether the file of ``entry`` is in ``folder`` (or in the package) and is the right one."""
    if entry.bundled:
        folder = _PACKAGE_DATA
    path = folder / entry.filename
    wrong: list[Path] = []
    for candidate in (path, *(folder / alias for alias in entry.aliases)):
        if not candidate.is_file():
            continue
        if _digest_of(candidate).startswith(entry.sha256):
            return WeightsStatus(
                state="ok", path=candidate, detail=f"sha256 {_digest_of(candidate)} is the published one"
            )
        wrong.append(candidate)
    if wrong:
        return WeightsStatus(state="wrong", path=wrong[0], detail=_explain_wrong(entry, wrong[0]))
    part = folder / f"{entry.filename}.part"
    if part.exists():
        return WeightsStatus(
            state="partial",
            path=part,
            detail=f"only {part.stat().st_size:,} bytes have been downloaded; run `evalkit weights fetch "
            f"{entry.name}` to go on",
        )
    return WeightsStatus(
        state="missing", path=path, detail=f"{entry.filename} is not in {folder}; {_how(entry, folder)}"
    )


def locate(name: str, folder: Path, overrides: Mapping[str, Path]) -> Path:
    """The verified file of the entry ``name``, or the file the user named for it.

    A file the user names is taken as it is: it is named in the record, and the digest of its tensors keeps it
    apart from others.

    Args:
        name: Name of an entry.
        folder: Where weight files are kept.
        overrides: Files the user named, by entry.

    Raises:
        UsageError: There is no such entry.
        WeightsError: The file is missing, partial or wrong; the message says what to do.
    """
    found = entry(name)
    if name in overrides:
        path = Path(overrides[name])
        check_suffix(path)
        if not path.is_file():
            raise WeightsError(f"--weights {name}={path}: there is no such file; check the path")
        return path
    state = status(found, folder)
    if state.state != "ok":
        raise WeightsError(f"the weights {name} cannot be used ({state.state}): {state.detail}")
    return state.path


def check_overrides(overrides: Mapping[str, Path]) -> None:
    """Refuses files that were named for weights which do not exist.

    Raises:
        UsageError: A name is not in the catalogue; the nearest are offered.
    """
    for name, path in overrides.items():
        if name not in WEIGHTS:
            raise UsageError(
                f"--weights {name}={path}: no weights are called {name!r} (nearest: "
                f"{nearest(name, WEIGHTS)}); `evalkit list weights` shows all {len(WEIGHTS)}"
            )


def verify(names: Sequence[str] = (), folder: Path | str | None = None) -> dict[str, WeightsStatus]:
    """The state of the weights called ``names``, or of all of the catalogue where none is named.

    Raises:
        UsageError: A name is not in the catalogue.
    """
    return {name: status(entry(name), weights_dir(folder)) for name in names or WEIGHTS}


def lacking_package(package: str, *, what: str, install: str) -> str | None:
    """What to do where a package that carries weights is not installed; None where it is.

    Args:
        package: Name of the module.
        what: What the weights are for.
        install: What to install.
    """
    found = importlib.util.find_spec(package)
    if found is not None and found.origin is not None:
        return None
    return (
        f"{what} takes its learned weights from the package {package}, which is not installed; pip install "
        f"{install}"
    )


def packaged_file(package: str, file: str, sha256: str, *, what: str, install: str) -> Path:
    """A verified file of weights inside an installed package, which is not imported.

    Importing it would run code that is not needed, and often a loader that unpickles or downloads.

    Args:
        package: Name of the module.
        file: Path below its folder.
        sha256: Its checksum.
        what: What the weights are for, in messages.
        install: What to install where the package is missing.

    Raises:
        WeightsError: The package is not installed, or holds another file.
    """
    if lacking := lacking_package(package, what=what, install=install):
        raise WeightsError(lacking)
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / file
    if not path.is_file() or sha256_file(path) != sha256:
        raise WeightsError(
            f"the package {package} lacks its file {file}, or holds another one; install it again: pip "
            f"install --force-reinstall {package}"
        )
    return path


def fetch(
    entry: WeightsEntry | str,
    folder: Path | str | None = None,
    *,
    progress: Progress | None = None,
    attempts: int = 4,
    pause: float = 1.0,
) -> Path:
    """Downloads one weight file, going on where an earlier download stopped, and checks it.

    The file appears under its name by one rename, after its checksum was found right. Of several processes
    that fetch the same file one downloads and the others wait for it.

    Args:
        entry: The file, or its name in the catalogue.
        folder: Where weight files are kept; `weights_dir` where None.
        progress: Called with (bytes there, bytes in all).
        attempts: How often to try before giving up.
        pause: Seconds before the second attempt; doubled for each further one.

    Returns:
        The verified file.

    Raises:
        UsageError: The name is not in the catalogue.
        WeightsError: It cannot be downloaded, or what was downloaded is not the published file.
        StoreError: The folder cannot be written.
    """
    import filelock

    found = lookup(entry, WEIGHTS, "weight") if isinstance(entry, str) else entry
    folder = weights_dir(folder)
    if found.bundled:
        return locate(found.name, folder, {})
    with explain_os_errors(folder, "preparing the weights folder"):
        folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / f".{found.filename}.lock"):
        state = status(found, folder)
        if state.state == "ok":
            return state.path
        if found.url is None:
            raise WeightsError(f"the weights {found.name} cannot be downloaded: {state.detail}")
        part, path = folder / f"{found.filename}.part", folder / found.filename
        going_on = part.exists()
        for attempt in (1, 2):
            download(
                found.url, part, progress=progress, attempts=attempts, pause=pause,
                advice=f"what was received is kept, and `evalkit weights fetch {found.name}` goes on from "
                f"there; without a network, {_by_hand(found, folder)}",
            )  # fmt: skip
            digest = sha256_file(part)
            if digest.startswith(found.sha256):
                with explain_os_errors(path, "writing"), part.open("rb") as file:
                    os.fsync(file.fileno())
                    os.replace(part, path)
                return path
            part.unlink()
            # What was there before may have been another file's beginning: then once more, from nothing.
            if not (going_on and attempt == 1):
                break
    raise WeightsError(
        f"what {found.url} sent is not the published file: its sha256 begins {digest[: len(found.sha256)]} "
        f"and should begin {found.sha256}; nothing was kept: look for a proxy that answers in the server's "
        f"place, or {_by_hand(found, folder)}"
    )


@functools.lru_cache(maxsize=64)
def _digest_at(path: Path, size: int, modified: int) -> str:
    return sha256_file(path)


def _digest_of(path: Path) -> str:
    # Hashed once a process, and again if the file changes.
    found = path.stat()
    return _digest_at(path, found.st_size, found.st_mtime_ns)


def _explain_wrong(entry: WeightsEntry, path: Path) -> str:
    size = path.stat().st_size
    short = (
        f" ({size:,} of {entry.size:,} bytes)" if entry.size and size != entry.size else f" ({size:,} bytes)"
    )
    begins = _digest_of(path)[: len(entry.sha256)]
    if entry.bundled:
        todo = "install evalkit again"
    elif entry.url:
        todo = f"`evalkit weights fetch {entry.name}` replaces it" + (
            "" if path.name == entry.filename else ", once it is deleted"
        )
    else:
        todo = "delete it and copy the right one"
    return (
        f"{path.name} is incomplete or another file{short}: its sha256 begins {begins} and should begin "
        f"{entry.sha256}; {todo}"
    )


def _by_hand(entry: WeightsEntry, folder: Path) -> str:
    return (
        f"get the file on another machine and put it into {folder} as {entry.filename} (another folder: "
        f"--weights-dir or $EVALKIT_WEIGHTS), or name it with --weights {entry.name}=FILE"
    )


def _how(entry: WeightsEntry, folder: Path) -> str:
    if entry.bundled:
        return "install evalkit again"
    if entry.url is None:
        return f"it is given by hand: {_by_hand(entry, folder)}"
    return f"run `evalkit weights fetch {entry.name}`, or {_by_hand(entry, folder)}"
