"""The verbs of attribute classifiers: ``attributes train``, ``attributes test``, ``attributes show``."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalkit.cli.options import Device, DeviceOption, Json, WeightsDir
from evalkit.errors import UsageError
from evalkit.files import check_writable

if TYPE_CHECKING:
    from evalkit.features.attributes import BundleInfo
    from evalkit.sources.base import ImageSource


class Kind(str, Enum):
    """What a bundle can be."""

    logistic = "logistic"
    cnn = "cnn"


Data = Annotated[str, typer.Option("--data", help="Images: a folder, archive, npz, data set name …")]
Labels = Annotated[
    str,
    typer.Option(
        "--labels",
        help="own: one attribute a class of the images' own labels; or a CSV (file name or number, then one "
        "column an attribute); or CelebA's list_attr_celeba.txt.",
    ),
]
Download = Annotated[bool, typer.Option("--download", help="Allow a data set to be downloaded.")]
Bundle = Annotated[str, typer.Argument(help="digits, or a file that `attributes train` wrote.")]


def register(app: typer.Typer) -> None:
    """Adds the verbs to ``app``."""
    verbs = typer.Typer(no_args_is_help=True, help="Classifiers of attributes, for linear separability.")
    verbs.command("train")(attributes_train)
    verbs.command("test")(attributes_test)
    verbs.command("show")(attributes_show)
    app.add_typer(verbs, name="attributes")


def attributes_train(
    data: Data,
    labels: Labels,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    kind: Annotated[
        Kind, typer.Option(help="cnn is better; logistic is a linear map of the pixels.")
    ] = Kind.cnn,
    side: Annotated[int, typer.Option(help="Images are resized to this side: 8, 16, 32 … 256.")] = 64,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    epochs: Annotated[int, typer.Option(help="Passes over the images.")] = 30,
    val_fraction: Annotated[
        float, typer.Option("--val-fraction", help="Share of the images kept apart to measure accuracy on.")
    ] = 0.1,
    root: Annotated[Path | None, typer.Option(help="Folder of torchvision data sets.")] = None,
    download: Download = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Train attribute classifiers on labelled images, and write them as one file."""
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: a bundle is one safetensors file; end its name in .safetensors")
    if output.is_dir():
        raise UsageError(
            f"--output {output}: that is a folder; name the file to write, such as {output}/{output.name}"
        )
    from evalkit.engine.device import pick_device
    from evalkit.engine.distributed import world
    from evalkit.engine.progress import reporter
    from evalkit.features.attribute_labels import read_attribute_labels
    from evalkit.features.attributes import write_bundle
    from evalkit.features.train_attributes import TrainSettings, train_attributes

    settings = TrainSettings(kind=kind.value, side=side, seed=seed, epochs=epochs, val_fraction=val_fraction)
    settings.check()
    check_writable(output.parent, "preparing to write into")
    source = _images(data, root, download)
    told = read_attribute_labels(labels, source)
    bundle = train_attributes(
        source, told, settings, device=pick_device(device.value, world()), track=reporter().track
    )
    write_bundle(output, bundle.info, bundle.tensors)
    _print(bundle.info, bundle.sha256)
    print(f"written to {output}", file=sys.stderr)


def attributes_test(
    bundle: Bundle,
    data: Data,
    labels: Labels,
    root: Annotated[Path | None, typer.Option(help="Folder of torchvision data sets.")] = None,
    download: Download = False,
    device: DeviceOption = Device.auto,
    weights_dir: WeightsDir = None,
    as_json: Json = False,
) -> None:
    """Measure attribute classifiers on labelled images they were not trained on."""
    from evalkit.engine import report
    from evalkit.engine.device import pick_device
    from evalkit.engine.distributed import world
    from evalkit.engine.progress import reporter
    from evalkit.features.attribute_labels import read_attribute_labels
    from evalkit.features.attributes import load_attributes
    from evalkit.features.train_attributes import accuracy

    loaded = load_attributes(bundle, pick_device(device.value, world()), weights_dir)
    source = _images(data, root, download)
    told = read_attribute_labels(labels, source)
    with reporter().track(f"judging {source.spec}") as progress:
        found = accuracy(loaded, source, told, progress=progress)
    positive = dict(zip(told.names, told.values.mean(0).tolist(), strict=True))
    if as_json:
        rows = {name: {"accuracy": found[name], "positive": positive[name]} for name in loaded.names}
        print(json.dumps({"num": len(source), "attributes": rows}, indent=1, ensure_ascii=False))
    else:
        report.print_rows(_rows(found, positive), to_stdout=True)


def attributes_show(bundle: Bundle, weights_dir: WeightsDir = None, as_json: Json = False) -> None:
    """Print what a bundle tells, how it was made, and how often it is right."""
    from evalkit.features.attributes import load_attributes

    loaded = load_attributes(bundle, "cpu", weights_dir)
    if as_json:
        from evalkit.digest import plain

        about = plain(loaded.info)
        assert isinstance(about, dict)
        del about["__type__"]
        print(json.dumps({**about, "sha256": loaded.sha256}, indent=1, ensure_ascii=False))
    else:
        _print(loaded.info, loaded.sha256)


def _print(info: BundleInfo, sha256: str) -> None:
    from evalkit.engine import report

    accuracy = dict(zip(info.names, info.accuracy, strict=True))
    report.print_fields(
        {
            "kind": f"{info.kind}, images resized to {info.side} x {info.side}",
            "trained on": f"{info.num_train:,} images of {info.data}, seed {info.seed}, {info.epochs} epochs",
            "accuracy": f"of {info.num_held_out:,} images kept apart: mean "
            f"{sum(info.accuracy) / len(info.names):.4f}, lowest {min(info.accuracy):.4f}",
            "data sha256": info.data_sha256,
            "tensors sha256": sha256,
        }
    )
    report.print_rows(_rows(accuracy, dict(zip(info.names, info.positive, strict=True))), to_stdout=True)


def _rows(accuracy: dict[str, float], positive: dict[str, float]) -> list[dict[str, str]]:
    return [
        {"attribute": name, "accuracy": f"{value:.4f}", "share that has it": f"{positive[name]:.4f}"}
        for name, value in accuracy.items()
    ]


def _images(data: str, root: Path | None, download: bool) -> ImageSource:
    from evalkit.sources.base import ImageSource
    from evalkit.sources.resolve import resolve

    source = resolve(data, root=root, download=download)
    if not isinstance(source, ImageSource):
        raise UsageError(f"--data {data} holds statistics of images; give the images themselves")
    return source
