"""The house as it should stand: imports point down, files stay readable, the start is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.protocols import catalog

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *sorted(
        path
        for folder in ("evalkit", "reference_models", "leaderboards")
        for path in (ROOT / folder).rglob("*.py")
    ),
    ROOT / "run_eval.py",
]

# A room may import from rooms of a smaller number, from itself, and from the rooms named beside it.
LEVELS = {
    "evalkit.errors": 0,
    "evalkit.digest": 0,
    "evalkit.files": 0,
    "evalkit.imaging": 1,
    "evalkit.uncertainty": 1,
    "evalkit.records": 1,
    "evalkit.sources": 2,
    "evalkit.metrics": 2,
    "evalkit.protocols": 3,
    "evalkit.features": 3,
    "evalkit.adapters": 3,
    # Readers of files that hold data alone: numpy, the floor and each other, so that anyone may use them.
    "evalkit.adapters.passive": 0,
    "evalkit.adapters.numpy_pickle": 1,
    "evalkit.adapters.pickle_machine": 1,
    "evalkit.adapters.restricted_pickle": 2,
    "evalkit.adapters.nvidia_pickle": 3,
    "evalkit.engine": 4,
    "evalkit.cli": 5,
    "reference_models": 5,
    "leaderboards": 5,
    "run_eval": 6,
}
_PICKLES = {
    f"evalkit.adapters.{name}" for name in ("numpy_pickle", "passive", "pickle_machine", "restricted_pickle")
}
ALLOWED = {
    "evalkit.imaging": {0},
    "reference_models": {
        "evalkit.sources",
        "evalkit.imaging",
        "evalkit.adapters.nvidia_pickle",
        "evalkit.adapters.restricted_pickle",
    },
    "leaderboards": {"evalkit.protocols", "evalkit.records", "evalkit.uncertainty"},
    "evalkit.metrics": {"evalkit.imaging"},
    "evalkit.sources": {"evalkit.imaging"},
    "evalkit.features": {"evalkit.sources", "evalkit.imaging"},
    "evalkit.adapters": {"evalkit.sources", "evalkit.imaging"},
    "evalkit.adapters.nvidia_pickle": _PICKLES,
    "evalkit.adapters.numpy_pickle": _PICKLES,
    "evalkit.adapters.passive": _PICKLES,
    "evalkit.adapters.pickle_machine": _PICKLES,
    "evalkit.adapters.restricted_pickle": _PICKLES,
    "evalkit.protocols": {"evalkit.records"},
    "evalkit.records": set(),
    "evalkit.uncertainty": set(),
}
FLOOR = {"evalkit.errors", "evalkit.digest", "evalkit.files"}


def room(module: str) -> str | None:
    for name in sorted(LEVELS, key=len, reverse=True):
        if module == name or module.startswith(name + "."):
            return name
    return None


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path):
    here = room(module_name(path))
    if here is None:  # evalkit/__init__.py names everything, lazily
        assert module_name(path) == "evalkit"
        return
    for module in imported(path):
        there = room(module)
        if there is None or there == here or there in FLOOR:
            continue
        assert LEVELS[there] < LEVELS[here], f"{path.name} imports {module}, which is not below it"
        if here in ALLOWED:
            assert there in ALLOWED[here], (
                f"{path.name} imports {module}; {here} may only know {ALLOWED[here]}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_400_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_opens_with_its_contract(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path.name} has no docstring"


@pytest.mark.parametrize(
    "command",
    [["--help"], ["run", "--help"], ["list", "protocols"], ["show", "fid50k_full"], ["table", "--help"]],
)
def test_light_commands_import_no_heavy_package(command: list[str]):
    code = (
        "import sys, run_eval\n"
        f"code = run_eval.main({command!r})\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_no_torch():
    code = "import sys, evalkit; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_published_protocols_keep_their_digests():
    now = {f"{spec.name}/v{spec.version}": spec.digest for spec in catalog.PROTOCOLS.values()}
    locked = catalog.locked_digests()
    changed = [name for name in now if name in locked and now[name] != locked[name]]
    assert not changed, (
        f"{changed} changed under their names: give each a new version and add it to locked.json"
    )
    missing = [name for name in now if name not in locked]
    assert not missing, f"{missing} are not locked: add their digests to locked.json"
