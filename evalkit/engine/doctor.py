"""What is installed, which weights verify, which device would run, and which protocols can run now."""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

from evalkit.engine.judges import readiness
from evalkit.errors import EvalkitError
from evalkit.features.catalog import EXTRACTORS
from evalkit.files import cache_root
from evalkit.protocols.catalog import PROTOCOLS
from evalkit.records.manifest import package_versions

EXTRAS = {"clip": "open_clip", "hf": "datasets", "site": "jinja2", "sql": "sqlalchemy"}


def doctor(*, weights_dir: Path | None = None, cache_dir: Path | None = None) -> dict[str, Any]:
    """Examines this machine; nothing is downloaded or written.

    Args:
        weights_dir: Folder of weight files to look in.
        cache_dir: Where features would be kept.
    """
    from evalkit.engine import listing

    protocols = {}
    for name, spec in PROTOCOLS.items():
        state = readiness(spec, weights_dir)
        protocols[name] = "ready" if state.ok else state.detail
    return {
        "python": platform.python_version(),
        "packages": package_versions(),
        "extras": {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()},
        "device": _device(),
        "cores": os.cpu_count(),
        "cache": str(cache_root(cache_dir)),
        "weights": listing.weights_rows(weights_dir, []),
        "extractors": list(EXTRACTORS),
        "protocols": protocols,
    }


def _device() -> str:
    try:
        import torch

        from evalkit.engine.device import describe_device, pick_device
        from evalkit.engine.distributed import world

        return describe_device(torch.device(pick_device("auto", world())))
    except (ImportError, EvalkitError) as error:
        return f"none: {error}"
