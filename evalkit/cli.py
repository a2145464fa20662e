"""The verbs of the command line: run, ref, list, show, weights, doctor, and tables handed in by `run_eval`.

A verb parses words and calls its Python twin. Results for machines go to standard output (``--json``),
everything for people to standard error. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

from evalkit.errors import EvalkitError, UsageError

_RESUME = "stopped; everything finished is kept: run the same command again and it goes on from there"


class _Guarded(TyperGroup):
    """Turns what a user can cause into one message and an exit code, in one place for all verbs."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        interrupted = False

        def note(number: int, frame: object) -> None:
            nonlocal interrupted
            interrupted = True
            raise KeyboardInterrupt

        previous: Any = None
        if threading.current_thread() is threading.main_thread():
            previous = signal.signal(signal.SIGINT, note)
        try:
            result = super().invoke(ctx)
            if interrupted:  # the exception fell into a finaliser, where Python only prints it
                raise KeyboardInterrupt
            return result
        except EvalkitError as error:
            print(f"evalkit: {error}", file=sys.stderr)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            print(f"\nevalkit: {_RESUME}", file=sys.stderr)
            raise typer.Exit(130) from error
        finally:
            if previous is not None:
                signal.signal(signal.SIGINT, previous)


class Device(str, Enum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PrecisionName(str, Enum):
    """Type of weights and activations."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class Kind(str, Enum):
    """What `list` can list."""

    protocols = "protocols"
    sources = "sources"
    extractors = "extractors"
    weights = "weights"


WeightsDir = Annotated[
    Optional[Path],  # noqa: UP045 - typer on Python 3.10 reads this spelling
    typer.Option(
        "--weights-dir", help="Folder of weight files, for machines without a network. [$EVALKIT_WEIGHTS]"
    ),
]
WeightsFiles = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--weights", metavar="NAME=FILE", help="Use this file for one network; named in the record."
    ),
]
CacheDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--cache-dir", help="Where features are kept. [$EVALKIT_CACHE]"),
]
DeviceOption = Annotated[
    Device, typer.Option(help="Where networks run; auto takes a GPU where there is one.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images read at a time. It cannot change a number.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]

app = typer.Typer(
    name="evalkit",
    cls=_Guarded,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure generative image models under named protocols, with an error bar on every number.",
)
ref_app = typer.Typer(no_args_is_help=True, help="Reference statistics of real images.")
weights_app = typer.Typer(no_args_is_help=True, help="Network weights: fetch, verify, locate.")
app.add_typer(ref_app, name="ref")
app.add_typer(weights_app, name="weights")


def main(argv: Sequence[str], tables: Callable[[typer.Typer], None] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        argv: The words after the program's name.
        tables: Adds the verbs that read records; `run_eval` hands it in.
    """
    if tables is not None and not any(command.name == "table" for command in app.registered_commands):
        tables(app)
    try:
        app(args=list(argv), prog_name="evalkit")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        import evalkit

        print(f"evalkit {evalkit.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure generative image models under named protocols, with an error bar on every number."""


@app.command()
def run(
    samples: Annotated[
        str, typer.Option(help="Images to judge: a folder, archive, npz, package.module:function …")
    ],
    metrics: Annotated[str, typer.Option(help="Protocols or groups, with commas: fid,kid,is,prdc or mini.")],
    data: Annotated[str | None, typer.Option(help="Real images, or a reference statistics file.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Results folder; records are added to it.")
    ] = Path("results"),
    name: Annotated[str | None, typer.Option(help="Name of the samples in tables.")] = None,
    data_name: Annotated[str | None, typer.Option(help="Name of the real images in tables.")] = None,
    layer: Annotated[
        str | None, typer.Option(help="Another layer of the protocols' network, such as 192.")
    ] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="bfloat16 is faster and another protocol.")
    ] = PrecisionName.float32,
    k: Annotated[
        int | None, typer.Option(help="Neighbours of precision, recall, density and coverage.")
    ] = None,
    num: Annotated[int | None, typer.Option(help="How many samples a callable makes.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use so many of the samples.")] = None,
    data_limit: Annotated[int | None, typer.Option(help="Use so many of the real images.")] = None,
    subset_seed: Annotated[
        int | None, typer.Option(help="Draw the limited ones at random by this seed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="First seed of a callable, and seed of the bootstrap.")] = 0,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave unreadable images out, and count them.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Folder of torchvision data sets.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Allow a torchvision data set to be downloaded.")
    ] = False,
    device: DeviceOption = Device.auto,
    batch_size: BatchSize = 64,
    weights_dir: WeightsDir = None,
    weights: WeightsFiles = None,
    cache_dir: CacheDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its cost, and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure samples, and file one record a result."""
    from evalkit.engine import report
    from evalkit.engine.progress import reporter
    from evalkit.engine.run import evaluate, plan

    arguments: dict[str, Any] = {
        "samples": samples, "data": data, "metrics": metrics, "name": name, "data_name": data_name,
        "layer": layer, "precision": precision.value, "k": k, "num": num, "limit": limit,
        "data_limit": data_limit, "subset_seed": subset_seed, "seed": seed, "skip_broken": skip_broken,
        "root": root, "download": download, "device": device.value, "batch_size": batch_size,
        "weights_dir": weights_dir, "weights": parse_weights(weights or []), "cache_dir": cache_dir,
        "reporter": reporter(),
    }  # fmt: skip
    if dry_run:
        costs = plan(**arguments)
        if as_json:
            print(json.dumps(costs.to_dict(), indent=1))
        else:
            report.print_plan(costs)
        return
    records = evaluate(output=output, **arguments)
    if as_json:
        print(json.dumps([record.to_dict() for record in records], indent=1, ensure_ascii=False))
    elif records:
        report.print_records(records, output)


@ref_app.command("build")
def ref_build(
    data: Annotated[str, typer.Argument(help="Real images: a folder, archive, npz, data set name …")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The npz to write.")],
    protocol: Annotated[str, typer.Option(help="Protocol the statistics are for.")] = "fid",
    layer: Annotated[str | None, typer.Option(help="Another layer of the protocol's network.")] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="Type of weights and activations.")
    ] = PrecisionName.float32,
    limit: Annotated[int | None, typer.Option(help="Use so many of the images.")] = None,
    subset_seed: Annotated[
        int | None, typer.Option(help="Draw the limited ones at random by this seed.")
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave unreadable images out.")] = False,
    root: Annotated[Path | None, typer.Option(help="Folder of torchvision data sets.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow a data set to be downloaded.")] = False,
    device: DeviceOption = Device.auto,
    batch_size: BatchSize = 64,
    weights_dir: WeightsDir = None,
    weights: WeightsFiles = None,
    cache_dir: CacheDir = None,
) -> None:
    """Write the mean and covariance of real images' features, for use as --data."""
    from evalkit.engine.progress import reporter
    from evalkit.engine.reference import build_reference

    header = build_reference(
        data, output, protocol=protocol, layer=layer, precision=precision.value, limit=limit,
        subset_seed=subset_seed, skip_broken=skip_broken, root=root, download=download, device=device.value,
        batch_size=batch_size, weights_dir=weights_dir, weights=parse_weights(weights or []),
        cache_dir=cache_dir, reporter=reporter(),
    )  # fmt: skip
    print(f"{output}: {header['num']:,} images, protocol {header['protocol']}", file=sys.stderr)


@app.command("list")
def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")], as_json: Json = False) -> None:
    """List protocols, sources, extractors or weights."""
    from evalkit.engine import listing, report

    rows = listing.rows(kind.value)
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        report.print_rows(rows, to_stdout=True)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a protocol.")], as_json: Json = False) -> None:
    """Print every field of a protocol, its source, and the files it needs."""
    from evalkit.engine import listing, report

    fields = listing.describe(name)
    if as_json:
        print(json.dumps(fields, indent=1, ensure_ascii=False))
    else:
        report.print_fields(fields)


@weights_app.command("fetch")
def weights_fetch(
    names: Annotated[list[str], typer.Argument(help="Names from `evalkit list weights`.")],
    weights_dir: WeightsDir = None,
) -> None:
    """Download weights, going on where an interrupted download stopped, and check them."""
    from evalkit.engine.progress import reporter
    from evalkit.features import weights

    out = reporter()
    for name in names:
        with out.track(name, "bytes") as progress:
            path = weights.fetch(weights.entry(name), weights.weights_dir(weights_dir), progress=progress)
        print(path)


@weights_app.command("verify")
def weights_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names; all that are there if none is given.")
    ] = None,
    weights_dir: WeightsDir = None,
) -> None:
    """Check weight files against their checksums."""
    from evalkit.engine import listing, report

    rows = listing.weights_rows(weights_dir, names or [])
    report.print_rows(rows, to_stdout=True)
    wanted = [row for row in rows if names or row["state"] != "missing"]
    if any(row["state"] != "ok" for row in wanted):
        raise typer.Exit(2)


@weights_app.command("path")
def weights_path(
    name: Annotated[str | None, typer.Argument(help="A name; the folder itself if none is given.")] = None,
    weights_dir: WeightsDir = None,
) -> None:
    """Print where weights are kept."""
    from evalkit.features import weights

    folder = weights.weights_dir(weights_dir)
    print(folder if name is None else weights.locate(name, folder, {}))


@app.command()
def doctor(weights_dir: WeightsDir = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Tell what is installed, which weights verify, which device is used, and which protocols can run now."""
    from evalkit.engine import report
    from evalkit.engine.doctor import doctor as examine

    findings = examine(weights_dir=weights_dir, cache_dir=cache_dir)
    if as_json:
        print(json.dumps(findings, indent=1))
    else:
        report.print_doctor(findings)


def parse_weights(given: Sequence[str]) -> dict[str, Path]:
    """Reads ``NAME=FILE`` words.

    Raises:
        UsageError: A word has no ``=``.
    """
    files = {}
    for word in given:
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise UsageError(f"--weights {word}: write NAME=FILE, such as inception-tf2015=weights.pth")
        files[name] = Path(file)
    return files
