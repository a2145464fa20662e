"""The verbs ``checkpoint`` (look into model files without running them, convert them) and ``train``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from reference_models.training.command import train


class Catalogue:
    """What the program asks of this package: models by name or checkpoint, and a list of them.

    Attributes:
        evaluator: Makes what measures a generator while it trains; None where nothing can.
    """

    def __init__(self, evaluator: Callable[[], Any] | None = None) -> None:
        """Takes what makes an evaluator."""
        self.evaluator = evaluator

    def open_model(self, spec: str, *, device: str = "cpu") -> Any | None:  # noqa: ANN401
        """The model behind a name or a checkpoint's path; None where it is neither."""
        from reference_models.loading import open_model

        return open_model(spec, device=device)

    def model_rows(self) -> list[dict[str, Any]]:
        """A row a model, for listings."""
        from reference_models.catalog import model_rows

        return model_rows()


def register(app: typer.Typer) -> None:
    """Adds the verbs to ``app``."""
    app.command()(train)
    checkpoint = typer.Typer(no_args_is_help=True, help="Model files: what they hold, and conversion.")
    checkpoint.command("inspect")(inspect)
    checkpoint.command("convert")(convert)
    app.add_typer(checkpoint, name="checkpoint")


def inspect(
    file: Annotated[Path, typer.Argument(help="A model file; nothing in it is run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Tell which model a file holds, its config, parameters and hashes, and whether it is safe.

    The exit code is 1 where it is not.
    """
    from reference_models.convert.inspect import inspect_checkpoint

    found = inspect_checkpoint(file)
    if as_json:
        print(json.dumps(found, indent=1, default=str))
    else:
        width = max(map(len, found))
        for name, value in found.items():
            if value not in (None, {}, []):
                print(f"{name:<{width}}  {_line(value)}")
    if not found["safe"]:
        raise typer.Exit(1)


def convert(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="A checkpoint of a reference model.")],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TO",
            help="NAME.safetensors, with a .json beside it; or NAME.pth, a state dict with official names.",
        ),
    ],
    network: Annotated[str, typer.Option(help="G_ema, the average to sample from, or G.")] = "G_ema",
) -> None:
    """Write a checkpoint's generator as safetensors and JSON, or as a PyTorch state dict."""
    from evalkit.errors import UsageError
    from reference_models.loading import export_state_dict, load_checkpoint, save_checkpoint

    kind = target.suffix.lower()
    if kind not in (".safetensors", ".pth"):
        raise UsageError(f"{target}: give a file whose name ends in .safetensors or .pth")
    model = load_checkpoint(source, network=network)
    written = (save_checkpoint if kind == ".safetensors" else export_state_dict)(model, target)
    beside = f" and {written.with_suffix('.json')}" if kind == ".safetensors" else ""
    print(f"written to {written}{beside}", file=sys.stderr)


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
