"""The program: its verbs, the errors they may end with, and its exit codes."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from evalkit.adapters.resolve import ReferenceModels
from evalkit.cli import attributes, bpd, lists, models, pictures, run, spectrum, sweep
from evalkit.errors import EvalkitError

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


app = typer.Typer(
    name="evalkit",
    cls=_Guarded,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure generative image models under named protocols, with an error bar on every number.",
)
for _verbs in (run, models, sweep, spectrum, pictures, attributes, bpd, lists):
    _verbs.register(app)


def main(
    argv: Sequence[str],
    verbs: Sequence[Callable[[typer.Typer], None]] = (),
    reference_models: ReferenceModels | None = None,
) -> int:
    """Runs one command and returns its exit code.

    Args:
        argv: The words after the program's name.
        verbs: Each adds verbs of another package; `run_eval` hands them in.
        reference_models: What opens reference models by name and official checkpoints by path.
    """
    for register in verbs:
        if register not in _added:
            _added.append(register)
            register(app)
    try:
        app(args=list(argv), prog_name="evalkit", obj=reference_models)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return 0


_added: list[Callable[[typer.Typer], None]] = []


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
