"""The command line of evalkit, and the only file that knows all three packages.

``python run_eval.py`` and the console script ``evalkit`` are the same program. Nothing here imports torch or
pandas: a verb imports what it needs when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import leaderboards.cli
import reference_models.cli
from evalkit import cli

if TYPE_CHECKING:
    from evalkit.engine.monitor import TrainingMonitor


def monitor() -> TrainingMonitor:
    """What measures a generator while it trains; the networks it needs are loaded when it does."""
    from evalkit.engine.monitor import TrainingMonitor

    return TrainingMonitor()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Words after the program's name; those of this process where not given.

    Returns:
        0 on success, 1 for a verdict, 2 for an error the user can mend, 130 after Ctrl-C.
    """
    return cli.main(
        sys.argv[1:] if argv is None else argv,
        verbs=(leaderboards.cli.register, reference_models.cli.register),
        reference_models=reference_models.cli.Catalogue(evaluator=monitor),
    )


if __name__ == "__main__":
    sys.exit(main())
