"""The repo checks itself: rules that no linter knows, each with its reason in the message."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("skerry", "cloudcore", "edgecore", "devices")
TOP_LEVEL = {
    *PRODUCT,
    *("tests", "examples", "docs", "benchmarks", "changelog.d"),
    *("pyproject.toml", "README.md", "STYLE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "LICENSE"),
    *(".ci", ".gitignore"),
}


def tracked() -> list[Path]:
    # A checkout may belong to somebody else than who runs the tests: a builder's container, a mounted directory.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).exists()]


FILES = tracked()
MODULES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PRODUCT]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_top_level_holds_only_what_the_architecture_names() -> None:
    strangers = {path.relative_to(ROOT).parts[0] for path in FILES} - TOP_LEVEL
    assert not strangers, f"put these into a room of ARCHITECTURE.md: {sorted(strangers)}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_opens_with_why_it_exists(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), (
        "say why the module exists, what it keeps, what a crash leaves"
    )


def test_no_file_grows_over_800_lines() -> None:
    long = {
        named(path): n for path in FILES if path.suffix == ".py" and (n := len(path.read_text().splitlines())) > 800
    }
    assert not long, f"split along a noun: {long}"


def test_no_function_grows_over_70_lines() -> None:
    long = [
        f"{named(path)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 70
    ]
    assert not long, f"a function fits a screen: {long}"


def test_what_is_made_once_is_frozen_without_a_dataclass() -> None:
    found = [
        f"{named(path)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and _is_frozen_dataclass(node) and not _has_settings(node)
    ]
    assert not found, f"derive it from skerry.frozen.Frozen (0320): {found}"


def _is_frozen_dataclass(node: ast.ClassDef) -> bool:
    return any("frozen=True" in ast.unparse(one) for one in node.decorator_list)


def _has_settings(node: ast.ClassDef) -> bool:
    return any(ast.unparse(one).startswith(("Settings", "EdgeSettings")) for one in node.bases) or any(
        isinstance(one, ast.AnnAssign) and one.value is not None and ast.unparse(one.value).startswith("setting(")
        for one in node.body
    )


def test_commands_print_nothing_past_the_one_place_that_makes_it_harmless() -> None:
    rooms = (ROOT / "skerry/cli", ROOT / "devices/commands")
    raw = re.compile(
        r"click\.s?echo(_via_pager)?\b|click\.style\b|(?<![\w.])print\(|csv\.writer\(sys|dump\([^)]*sys\.std"
    )
    found = [
        f"{named(path)}:{number}"
        for path in MODULES
        if path.parent in rooms and path.name != "output.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if raw.search(line)
    ]
    assert not found, f"use say, styled, print_csv and print_data of skerry.cli.output: {found}"


def test_no_cancellation_is_lost_to_what_was_waited_for() -> None:
    """Python 3.11's `asyncio.wait_for` returns what came in the moment of a cancellation, and loses that: an agent
    that was to stop just as a container had started went on for ever. `asyncio.timeout` does not."""
    found = [named(path) for path in MODULES if "asyncio.wait_for(" in path.read_text()]
    assert not found, f"use asyncio.timeout: {found}"


def test_nothing_is_left_for_later() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b|\b[Ff]or now\b|\b[Pp]laceholder\b")
    found = [
        f"{named(path)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if words.search(line)
    ]
    assert not found, f"finish it or leave it out: {found}"


def test_no_conflict_is_left_standing() -> None:
    mark = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
    found = [named(path) for path in FILES if path.is_file() and mark.search(path.read_bytes())]
    assert not found, f"two sides of a merge stand here: {found}"


def test_modules_are_nouns_of_the_field() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc", "base", "core", "manager_utils"}
    found = [named(path) for path in MODULES if path.stem in vague]
    assert not found, f"name the thing: {found}"


def test_pure_rooms_do_no_io() -> None:
    """`p` rooms of ARCHITECTURE.md: no I/O, clock, chance, logging or async."""
    pure = [path for path in MODULES if _is_pure(path.relative_to(ROOT))]
    assert pure
    banned = {
        "asyncio",
        "logging",
        "random",
        "secrets",
        "socket",
        "time",
        "threading",
        "subprocess",
        "sqlite3",
        "ssl",
    }
    found: list[str] = []
    for path in pure:
        tree = ast.parse(path.read_text())
        names = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        if names & banned:
            found.append(f"{named(path)}: {sorted(names & banned)}")
        if any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree)):
            found.append(f"{named(path)}: async")
    assert not found, f"decide in pure code, act in a thin shell: {found}"


def _is_pure(path: Path) -> bool:
    parts = path.parts
    return (
        parts[:2] in {("skerry", "objects"), ("skerry", "wire"), ("skerry", "sync")}
        or path.name in {"plan.py", "merge.py", "topics.py", "codec.py", "registers.py", "views.py", "workqueue.py"}
        or path.name in {"backoff.py", "filters.py", "scores.py", "revisions.py"}
    )


def test_a_test_is_marked_as_one_of_the_system_in_its_own_file() -> None:
    """`tests/conftest.py` passes over files that have no such mark: a test that got it elsewhere would never run."""
    shared = [path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith(("test_", "conftest"))]
    assert not [named(path) for path in shared if "pytest.mark.system" in path.read_text()]


def test_examples_are_numbered_told_and_listed() -> None:
    found = sorted(
        {path.relative_to(ROOT / "examples").parts[0] for path in FILES if ROOT / "examples" in path.parents}
    )
    found.remove("README.md")
    assert [int(name.partition("-")[0]) for name in found] == list(range(1, len(found) + 1)), found
    listed = (ROOT / "examples/README.md").read_text()
    untold = [
        name
        for name in found
        if f"]({name}/README.md)" not in listed or not (ROOT / "examples" / name / "README.md").exists()
    ]
    assert not untold, f"each has a README and a line in examples/README.md: {untold}"


def test_one_version_everywhere() -> None:
    from skerry import VERSION

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_decisions_are_numbered_once_and_listed() -> None:
    pages = sorted(path for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    numbers = [path.name[:4] for path in pages]
    assert len(numbers) == len(set(numbers)), f"a number twice: {numbers}"
    index = (ROOT / "docs/decisions/README.md").read_text()
    missing = [path.name for path in pages if path.name not in index]
    assert not missing, f"list in docs/decisions/README.md: {missing}"


def test_links_between_documents_lead_somewhere() -> None:
    link = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
    broken = [
        f"{named(path)} -> {target}"
        for path in FILES
        if path.suffix == ".md"
        for target in link.findall(path.read_text())
        if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists()
    ]
    assert not broken, broken


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    page = (ROOT / "docs/decisions/0001-dependencies.md").read_text().lower()
    names = [re.split(r"[<>=\[ ~!]", line)[0].lower() for line in wanted]
    missing = [name for name in names if f"`{name}`" not in page]
    assert not missing, f"give each a line in docs/decisions/0001-dependencies.md: {missing}"


def test_make_help_lists_the_entry_points() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for entry in ("demo", "test", "check", "sim", "bench", "docs"):
        assert f"make {entry}" in shown


def test_the_ci_script_calls_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
