"""The README and docs/ say what is so: commands parse, tables match the catalogue, links lead somewhere."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

import leaderboards.cli
import reference_models.cli
from evalkit import cli
from evalkit.digest import plain
from evalkit.protocols import catalog
from evalkit.protocols.spec import LikelihoodOptions, NeighbourOptions
from evalkit.records.manifest import provenance
from evalkit.records.schema import DataUse, Record

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str | None = None) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for given, text in found if language is None or given == language]


def commands(program: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for text in blocks(page):
            for line in text.replace("\\\n", " ").splitlines():
                words = line.split("#")[0].strip()
                if words.startswith(program + " "):
                    found.append((page.name, words))
        for words in re.findall(rf"`({program} [^`]*)`", page.read_text(encoding="utf-8")):
            if "…" not in words and "|" not in words:
                found.append((page.name, words))
    return found


COMMANDS = commands("evalkit") + [
    (page, words.replace("python run_eval.py", "evalkit")) for page, words in commands("python run_eval.py")
]


def parsed(words: str) -> dict[str, object]:
    """The parameters of a command line, as its verb would receive them; nothing is run."""
    if not any(verb.name == "table" for verb in cli.app.registered_commands):
        leaderboards.cli.register(cli.app)
        reference_models.cli.register(cli.app)
    command, rest = typer.main.get_command(cli.app), shlex.split(words)[1:]
    context = command.make_context("evalkit", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        assert rest, f"{words}: which verb?"
        assert rest[0] in command.commands or rest[0].startswith("-"), f"{words}: no verb {rest[0]}"
        if rest[0].startswith("-"):
            assert rest == ["--help"] or rest == ["--version"], words
            return {}
        command, rest = command.commands[rest[0]], rest[1:]
    if not rest or "--help" in rest:
        return {}  # names the verb; nothing to parse
    parameters: dict[str, object] = command.make_context("evalkit", rest, parent=context).params
    return parameters


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}-{words}" for page, words in COMMANDS])
def test_every_command_in_the_docs_parses(page: str, words: str):
    parameters = parsed(words)
    metrics = parameters.get("metrics")
    if isinstance(metrics, str) and words.startswith("evalkit run"):
        catalog.select(metrics.split(","), layer=parameters["layer"], k=parameters["k"])  # type: ignore[arg-type]
    for name in ("name", "protocol"):
        given = parameters.get(name)
        if words.startswith(("evalkit show", "evalkit ref")) and given not in (None, "NAME"):
            assert given in catalog.PROTOCOLS


def test_the_readme_has_commands_to_check():
    assert len([words for page, words in COMMANDS if page == "README.md"]) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_that_python_examples_use_exists(page: Path):
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in ("evalkit", "leaderboards"):
                    assert hasattr(importlib.import_module(node.value.id), node.attr)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("evalkit.evaluate", "evalkit.plan"):
                from evalkit.engine.request import Arguments

                given = {keyword.arg for keyword in node.keywords}
                assert given <= {*Arguments.__annotations__, "output"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def protocol_table() -> str:
    """The table of docs/protocols.md."""
    lines = [
        "| name | what | network, layer | resize | samples | real | settings |",
        "|---|---|---|---|---|---|---|",
    ]
    for spec in catalog.PROTOCOLS.values():
        options = plain(spec.options)
        assert isinstance(options, dict)
        kept = {key: value for key, value in options.items() if key not in ("__type__", "values")}
        if kept.get("kernel") == "poly":
            del kept["sigma"]  # of the other kernel
        settings = ", ".join(f"{key} {value}" for key, value in kept.items() if value is not None)
        if isinstance(spec.options, NeighbourOptions):
            settings = f"k {spec.options.k}, inside `{spec.options.inside}`"
        real = "–" if not spec.needs_data else "all" if spec.num_real is None else f"≤ {spec.num_real:,}"
        fake = "all" if spec.num_fake is None else f"{spec.num_fake:,}"
        if isinstance(spec.options, LikelihoodOptions):
            fake = "–"
        lines.append(
            f"| `{spec.name}` | {spec.about.title} | {spec.extractor}, {spec.layer} | {spec.resize} | {fake} "
            f"| {real} | {settings} |"
        )
    return "\n".join(lines)


def group_table() -> str:
    """The groups of docs/protocols.md."""
    return "\n".join(
        ["| group | protocols |", "|---|---|"]
        + [
            f"| `{name}` | {', '.join(f'`{each}`' for each in members)} |"
            for name, members in catalog.GROUPS.items()
        ]
    )


@pytest.mark.parametrize(("start", "end", "table"), [
    ("<!-- protocols:", "<!-- end -->", protocol_table), ("<!-- groups:", "<!-- end groups -->", group_table),
])  # fmt: skip
def test_the_page_of_protocols_matches_the_catalogue(start: str, end: str, table):
    page = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    between = page[page.index(start) : page.index(end)].split("\n", 1)[1].strip()
    assert between == table(), f"replace it in docs/protocols.md by\n{table()}"


def test_the_page_of_records_names_every_field():
    page = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
    named = set(
        re.findall(
            r"`(\w+)`", "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| "))
        )
    )
    fields = {field.name for kind in (Record, DataUse) for field in dataclasses.fields(kind)}
    fields |= set(provenance(device="cpu", timings={}, weights_file="f"))
    assert named == fields | {"record_id"}


def texts(path: Path) -> list[str]:
    """The strings of a file, put together as Python does, with … for what is filled in; no docstrings."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            found.append(node.value)
    return found


def test_the_page_of_troubles_quotes_messages_that_exist():
    there = [
        text
        for name in ("evalkit", "leaderboards")
        for path in (ROOT / name).rglob("*.py")
        for text in texts(path)
    ]
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert len(quoted) >= 30
    unheard = [
        message
        for message in quoted
        if not any(all(part.strip() in text for part in message.split("…")) for text in there)
    ]
    assert not unheard, f"no message has {unheard}"
