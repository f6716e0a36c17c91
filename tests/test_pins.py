"""What is installed: each requirement has its version and hashes, each import its requirement, and the reverse."""

import ast
import functools
import importlib.metadata
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILES = sorted(path.name for path in ROOT.glob("requirements*.txt"))
# needed without being imported: the package is built with the first; the others are parts of JAX
NOT_IMPORTED = {"setuptools", "jaxlib"}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def pins(file: str, text: str | None = None) -> dict[str, str]:
    """Distribution -> version, of a file and of those that it reads. Raises AssertionError for a line without a version
    or a hash."""
    text, found = (ROOT / file).read_text() if text is None else text, {}
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("-r "):
            found |= pins(line[3:].strip())
        elif line and not line.startswith("#"):
            pin, *hashes = re.split(r"\s+(?=--hash)", line)
            pin, _, marker = pin.partition(";")
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.+!_-]*)", pin.strip())
            assert match, f"{file}: {pin} has no version"
            assert hashes and all(HASH.fullmatch(one.strip()) for one in hashes), f"{file}: {pin} has no hash"
            if marker and not Marker(marker).evaluate():
                continue  # of another system
            name = canonicalize_name(match[1])
            assert name not in found, f"{file}: {name} stands twice"
            found[name] = match[2]
    return found


@functools.cache
def imported(*folders: str) -> dict[str, str]:
    """Top-level module that is no part of Python or of this repository -> a file that imports it."""
    ours = {"emsa_jax", "tests", *(path.stem for folder in folders for path in (ROOT / folder).rglob("*.py"))}
    ours |= {path.name for folder in folders for path in (ROOT / folder).rglob("*") if path.is_dir()}
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in run(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                for name in names:
                    top = name.partition(".")[0]
                    if top not in sys.stdlib_module_names and top not in ours:
                        found.setdefault(top, path.relative_to(ROOT).as_posix())
    return found


def run(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a file without those that only a checker of types reads."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield from run(node)


def distributions_of(module: str) -> set[str]:
    """What a module is installed by."""
    return {canonicalize_name(name) for name in installed_by().get(module, [module])}


installed_by = functools.cache(importlib.metadata.packages_distributions)


@pytest.fixture(scope="module")
def asked():
    """The dependencies of the package, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {canonicalize_name(Requirement(text).name): Requirement(text) for text in project["dependencies"]}


@pytest.fixture(scope="module")
def extras():
    """The distributions of the extras that users install for a part of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [text for name, texts in project["optional-dependencies"].items() if name != "test" for text in texts]
    return {canonicalize_name(Requirement(text).name) for text in named}


def test_every_requirement_has_its_version_and_hashes():
    assert FILES == [
        "requirements-aot.txt",
        "requirements-browser.txt",
        "requirements-dev.txt",
        "requirements-tfds.txt",
        "requirements.txt",
    ]
    assert all(pins(file) for file in FILES)


@pytest.mark.parametrize(
    "line, fault",
    [
        ("numpy>=2", "no version"),
        ("numpy", "no version"),
        ("numpy==2.* --hash=sha256:" + "0" * 64, "no version"),
        ("numpy===2.4.6 --hash=sha256:" + "0" * 64, "no version"),
        ("--extra-index-url https://x.org/simple", "no version"),
        ("numpy==2.4.6", "no hash"),
        ("numpy==2.4.6 --hash=sha256:12", "no hash"),
        ("git+https://x.org/numpy", "no version"),
        ("numpy==1 --hash=sha256:{0}\nNumPy==2 --hash=sha256:{0}".format("0" * 64), "stands twice"),
    ],
)
def test_a_line_without_them_is_seen(line, fault):
    with pytest.raises(AssertionError, match=fault):
        pins("x.txt", line)


def test_make_installs_by_hash_alone():
    """Every `pip install` of the Makefile asks for hashes, but for what lies here or has no version: the extras."""
    recipes = [line for line in (ROOT / "Makefile").read_text().splitlines() if "$(PIP) install" in line]
    assert len([line for line in recipes if "--require-hashes" in line]) == 6
    for line in recipes:
        assert "--require-hashes" in line or "-e ." in line, line


def test_every_import_has_its_requirement_and_the_reverse(asked, extras):
    needed, there = imported("emsa_jax"), asked.keys() | extras
    missing = {module: file for module, file in needed.items() if not distributions_of(module) & there}
    assert missing == {}
    used = set().union(*map(distributions_of, needed))
    assert asked.keys() - used == set()


def test_every_requirement_of_the_package_is_pinned_as_it_asks(asked):
    found = pins("requirements.txt")
    assert {name: found.get(name) for name, want in asked.items() if found.get(name) not in want.specifier} == {}


def test_tests_and_benchmarks_import_what_is_pinned():
    found = pins("requirements-dev.txt").keys() | pins("requirements-browser.txt").keys()
    others = imported("tests", "benchmarks", "examples", "tools", "configs")
    others = {module: file for module, file in others.items() if not file.startswith("benchmarks/peers/")}
    missing = {module: file for module, file in others.items() if not distributions_of(module) & found}
    assert missing == {}


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_what_is_pinned_needs_nothing_else_and_is_needed(file, asked):
    """With hashes pip takes nothing that is not in the file; a pin that nobody needs is a leftover."""
    found, wanted = pins(file), {*asked, *NOT_IMPORTED}
    if file != "requirements.txt":
        wanted |= set().union(*map(distributions_of, imported("tests", "benchmarks", "examples", "tools", "configs")))
        wanted |= {
            "pytest-xdist",
            "ruff",
            "vulture",
            "accelerate",
        }  # which are run, or taken by transformers where they are there
    needed, extras = set(), {name: {""} for name in found}
    queue = list(found)
    while queue:
        name = queue.pop()
        for one in map(Requirement, importlib.metadata.requires(name) or []):
            if one.marker and not any(one.marker.evaluate({"extra": extra}) for extra in extras[name]):
                continue
            other = canonicalize_name(one.name)
            needed.add(other)
            assert one.specifier.contains(found.get(other, ""), prereleases=True), f"{name} needs {one}"
            if one.extras - extras[other]:
                extras[other] |= one.extras
                queue.append(other)
    assert sorted(found.keys() - needed - wanted) == []


def test_hashes_are_written_beside_what_stays(monkeypatch):
    """`make hashes`: comments, other files and what the index does not have stay; pins lose old hashes for new ones."""
    with_hashes = runpy.run_path(str(ROOT / "tools/hash_requirements.py"))["with_hashes"]
    asked = []

    def uv(command, input, **_):
        asked.append(input.splitlines())
        lines = [f"{pin} \\\n    --hash=sha256:{'0' * 64}\n" for pin in input.splitlines()]
        return subprocess.CompletedProcess(command, 0, "".join(lines), "")

    monkeypatch.setattr(subprocess, "run", uv)
    text = "# why\n-r requirements.txt\nb==1 \\\n    --hash=sha256:old\n"
    text += "torch==2.13.0+cpu ; sys_platform == 'linux'\na==2\n"
    written = with_hashes(text)
    assert asked == [["a==2", "b==1"]]
    assert written.startswith("# why\n-r requirements.txt\ntorch==2.13.0+cpu ; sys_platform == 'linux' \\\n")
    assert "old" not in written and written.count("--hash=sha256:") == 3
    assert with_hashes(written) == written
