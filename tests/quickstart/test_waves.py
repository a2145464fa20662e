"""The closed-form generator of the examples: short, and measured as its formula says."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import evalkit
from evalkit.records.schema import Record

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "waves.py"


@pytest.fixture
def waves(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("waves", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "waves", module)
    spec.loader.exec_module(module)
    return module


def test_the_user_writes_fewer_than_thirty_lines():
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    words = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)  # docstrings
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    code = [line for number, line in enumerate(lines, 1) if line.strip() and number not in words]
    assert len(code) < 30


def test_path_length_and_equivariance_through_the_public_adapter(waves: ModuleType, tmp_path: Path):
    def measured(sticking: float) -> dict[str, Record]:
        model = evalkit.adapt(waves.Waves(sticking))
        records = evalkit.evaluate(
            model=model, metrics="ppl_mini,equivariance", num=24, output=None, cache_dir=tmp_path
        )
        return {record.metric: record for record in records}

    weak, strong = measured(0.01), measured(0.1)
    for metric in ("eqt_int", "eqt_frac", "eqr"):
        # Errors are the pattern's: ten times as large, 20 dB less.
        assert weak[metric].value - strong[metric].value == pytest.approx(20, abs=0.7)
    assert weak["ppl_mini"].value > 0
    assert weak["ppl_mini"].ci95[0] <= weak["ppl_mini"].value <= weak["ppl_mini"].ci95[1]


def test_the_page_s_own_lines_run(waves: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "evaluate-your-model.md").read_text(encoding="utf-8")
    (block,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "adapt(" in text]
    names: dict[str, object] = {}
    exec(compile(block.replace("num=64", "num=8"), "page", "exec"), names)
    records = names["records"]
    assert isinstance(records, list)
    assert [record.samples.name for record in records] == ["waves"] * 4
