"""Runs what the README and docs/ show; docs/how-to/add-a-page.md says how a page is written for it."""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [Path("README.md"), *sorted(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))]

#: Read by people only. Anything else has to run, parse, or be written to a file.
SHOWN_ONLY = {"text", "mermaid"}
PARSED = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads}

#: The blocks that cannot run in a test, by page and first line. What stands here is checked in another way.
NOT_RUN = {
    ("README.md", "$ make demo"),
    ("README.md", "$ make test"),
    ("docs/how-to/develop.md", "$ make test"),
    (
        "docs/how-to/develop.md",
        "$ HEADWATER_KILLS=60 HEADWATER_SEED=3 .venv/bin/python -m pytest -s tests/kafka/test_kafka_kills.py "
        "tests/kafka/test_kafka_broker_kills.py tests/kafka/test_kafka_zombies.py",
    ),
}

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`]*)$")
MARKER = re.compile(r"^<!-- (?P<name>[a-z]+): (?P<value>.+?) -->$")
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)(#[^)\s]*)?\)")


class BadPage(AssertionError):
    """A page that is not written as the conventions say."""


@dataclass
class Block:
    language: str
    line: int
    lines: list[str] = field(default_factory=list)
    markers: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


@dataclass
class Page:
    blocks: list[Block]
    workspace: str | None = None
    catalog: str | None = None
    broker: str | None = None


@dataclass
class Command:
    line: str
    output: list[str] = field(default_factory=list)


def parse(text: str) -> Page:
    """A page's fenced blocks, each with the markers (HTML comments) right above it."""
    page = Page([])
    markers: dict[str, str] = {}
    block: Block | None = None
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if block is not None:
            if line.rstrip() == fence:
                page.blocks.append(block)
                block = None
            else:
                block.lines.append(line)
        elif opening := FENCE.match(line):
            fence = opening["fence"]
            block = Block(opening["info"].strip(), number, markers=markers)
            markers = {}
        elif marker := MARKER.match(line):
            if marker["name"] == "workspace":
                page.workspace = marker["value"]
            elif marker["name"] == "catalog":
                page.catalog = marker["value"]
            elif marker["name"] == "kafka":
                page.broker = marker["value"]
            elif marker["name"] in {"exit", "file", "skip"}:
                markers[marker["name"]] = marker["value"]
            else:
                raise BadPage(f"line {number}: there is no marker '{marker['name']}'")
        elif line.strip() and markers:
            raise BadPage(f"line {number}: a marker stands right above its block")
    if block is not None:
        raise BadPage(f"line {block.line}: the block is not closed")
    return page


def commands(block: Block) -> list[Command]:
    """`$ ` begins a command, `> ` goes on with it, other lines are its output."""
    found: list[Command] = []
    for line in block.lines:
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif found and line.startswith("> ") and not found[-1].output:
            found[-1].line += "\n" + line[2:]
        elif found:
            found[-1].output.append(line)
        else:
            raise BadPage(f"line {block.line}: a console block begins with a command")
    return found


class Shelf:
    """A folder for one page, in which its files are written and its commands run."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder / "page"
        self.snippets = folder / "snippets"
        self.programs = folder / "bin"
        for made in (self.folder, self.snippets, self.programs):
            made.mkdir()
        self.module = ModuleType("page")
        launcher = self.programs / "headwater"
        start = "import sys; from headwater.cli import main; sys.argv[0] = 'headwater'; main()"
        launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{start}" "$@"\n')
        launcher.chmod(0o755)

    def run(self, block: Block) -> None:
        language, *options = block.language.split() or [""]
        if "file" in block.markers:
            target = self.folder / block.markers["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        elif language == "python":
            self._python(block)
        elif language == "console":
            self._console(block, compare="output" in options)
        elif language in PARSED:
            PARSED[language](block.text)
        elif language not in SHOWN_ONLY:
            raise BadPage(f"{self.page}:{block.line}: a block is python, console, yaml, toml, json, text or mermaid")

    def _python(self, block: Block) -> None:
        # A real file with the page's own line numbers: tracebacks and inspect.getsource then tell the truth.
        name = f"{str(self.page).replace('/', '_')}.{block.line}.py"
        source = "\n" * block.line + block.text
        (self.snippets / name).write_text(source)
        exec(compile(source, str(self.snippets / name), "exec"), self.module.__dict__)

    def _console(self, block: Block, compare: bool) -> None:
        shown = commands(block)
        for command in shown:
            expected = int(block.markers.get("exit", "0")) if command is shown[-1] else 0
            path = os.pathsep.join([str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"]])
            ran = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command.line],
                cwd=self.folder,
                env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            where = f"{self.page}:{block.line}: $ {command.line}"
            told = f"{where}\n{ran.stdout}{ran.stderr}"
            assert ran.returncode == expected, f"exit code {ran.returncode}, not {expected}\n{told}"
            if compare:
                want, got = "\n".join(command.output).strip() + "\n", ran.stdout.strip() + "\n"
                same = doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
                assert same, f"the output is another\n{told}"


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_what_a_page_shows_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    page = parse((ROOT / path).read_text())
    shelf = Shelf(path, tmp_path)
    (shelf.folder / "examples").symlink_to(ROOT / "examples")
    if page.workspace is not None:
        prepared = request.getfixturevalue(f"{page.workspace}_workspace")
        shutil.copytree(prepared, shelf.folder / "demo-workspace")
    if page.catalog is not None:
        databases = request.getfixturevalue(page.catalog)
        url = databases.create()
        request.addfinalizer(lambda: databases.drop(url))
        monkeypatch.setenv("HEADWATER_CATALOG", url)
    if page.broker is not None:
        monkeypatch.setenv(page.broker, request.getfixturevalue("kafka_address"))
    monkeypatch.chdir(shelf.folder)
    monkeypatch.setitem(sys.modules, "page", shelf.module)
    for block in page.blocks:
        if "skip" not in block.markers:
            shelf.run(block)


def skipped() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        for block in parse((ROOT / path).read_text()).blocks:
            if "skip" in block.markers:
                yield str(path), block.lines[0]


def test_only_what_cannot_run_in_a_test_is_not_run() -> None:
    assert set(skipped()) == NOT_RUN


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    targets = {link["target"] for link in LINK.finditer((ROOT / path).read_text())}
    local = {target for target in targets if "://" not in target}
    assert {target for target in local if not (ROOT / path.parent / target).exists()} == set()


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "docs" / "index.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            ahead += [(page.parent / link["target"]).resolve() for link in LINK.finditer(page.read_text())]
    assert {ROOT / path for path in PAGES if path.parts[0] == "docs"} - reached == set()


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = sum(extras.values(), project["dependencies"])
    names = {re.split(r"[\[<>=!~ ]", name)[0].lower() for name in wanted} - {"headwater"}
    page = (ROOT / "docs" / "dependencies.md").read_text().lower()
    assert names - set(re.findall(r"`([^`]+)`", page)) == set()
    assert set(extras) - set(re.findall(r"^## extra `([^`]+)`$", page, re.MULTILINE)) == {"all"}


def run(text: str, folder: Path) -> None:
    shelf = Shelf(Path("some/page.md"), folder)
    for block in parse(text).blocks:
        shelf.run(block)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert 1 == 2\n```",
        "```console\n$ false\n```",
        "```console\n$ true\n$ no-such-command\n```",
        "```console output\n$ echo one\ntwo\n```",
        "<!-- exit: 3 -->\n```console\n$ true\n```",
        "```yaml\na: [\n```",
        "```sh\nls\n```",
        "```\nls\n```",
        "```console\nls\n```",
    ],
)
def test_a_wrong_block_fails(text: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, yaml.YAMLError)):
        run(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["<!-- skp: typo -->\n```python\n```", "<!-- skip: why -->\n\nwords\n```python\n```", "```python\nnever closed"],
)
def test_a_marker_or_fence_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadPage):
        parse(text)


def test_blocks_share_names_and_files(tmp_path: Path) -> None:
    run(
        "<!-- file: word.txt -->\n```text\nriver\n```\n"
        "```python\nlength = 5\n```\n"
        "```python\nassert length == 5\n```\n"
        "```console output\n$ cat word.txt\nri...r\n$ echo one \\\n> two\none two\n```\n"
        "<!-- exit: 3 -->\n```console\n$ true\n$ exit 3\n```\n",
        tmp_path,
    )
