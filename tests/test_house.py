"""How the package is built: who may import whom, how long files and functions may be, how many options a run has.

The figures are those of benchmarks/house.py, which reads the source and imports nothing of it.
"""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
measure = runpy.run_path(str(ROOT / "benchmarks/house.py"))
House, ROOMS, FREE, strong_components = (measure[name] for name in ("House", "ROOMS", "FREE", "strong_components"))

FUNCTION_LINES = 70
JOB_LINES = 130
WIDE_CALLS = 10  # of arrays, as formulas have them
OPTIONS = 162
# tests of what several modules do together, or of one module in an unusual place: a browser, a mesh, a kill
ACROSS = {
    "answers/test_scores_and_labels.py",
    "aot/test_aot.py",
    "data/media/test_alignment.py",
    "data/media/test_damage.py",
    "data/puppets/test_render.py",
    "data/readers/test_docs.py",
    "data/readers/test_fuzz.py",
    "data/readers/test_label_files.py",
    "data/readers/test_lost_forms.py",
    "data/readers/test_mer.py",
    "data/readers/test_sims_layouts.py",
    "data/test_media_fuzz.py",
    "data/test_prepare_kill.py",
    "distill/test_distill_kill.py",
    "distill/test_review_page.py",
    "distill/test_traces_to_sft.py",
    "jobs/test_bad_input.py",
    "jobs/test_bit_flips.py",
    "jobs/test_concepts_run.py",
    "jobs/test_ends.py",
    "jobs/test_extend.py",
    "jobs/test_kill.py",
    "jobs/test_xemogpt_run.py",
    "learning/test_group_logprobs.py",
    "parallel/test_loading.py",
    "parallel/test_two_processes.py",
    "policy/test_attention_on_mesh.py",
    "policy/test_towers.py",
    "report/test_demo_browser.py",
    "report/test_run_browser.py",
    "rewards/test_class_parts.py",
    "rewards/test_hacking.py",
    "test_examples.py",
    "test_gate.py",
    "test_house.py",
    "test_launch.py",
    "test_pins.py",
    "test_shapes.py",
    "tools/test_parity_parts.py",
    "tools/test_weights.py",
    "training/test_walk.py",
}


@pytest.fixture(scope="module")
def house():
    return House(ROOT)


@pytest.fixture
def build(tmp_path):
    """A package made of {file below emsa_jax/: source}; an __init__.py stands in every directory."""

    def build(files):
        for name, source in files.items():
            path = tmp_path / "emsa_jax" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        for directory in [tmp_path / "emsa_jax", *(tmp_path / "emsa_jax").rglob("*/")]:
            (directory / "__init__.py").touch()
        return House(tmp_path)

    return build


def too_long(house, limit=FUNCTION_LINES):
    return {name: lines for name, lines in house.functions().items() if lines > limit}


def long_jobs(house, limit=JOB_LINES):
    return {name: lines for name, lines in house.lines("jobs").items() if lines > limit}


def without_module(root, across=ACROSS):
    """Tests that mirror no module of the package and are not listed as tests across modules."""
    tests = {path.relative_to(root / "tests").as_posix() for path in (root / "tests").rglob("test_*.py")}
    package = {
        path.relative_to(root / "emsa_jax").with_suffix("").as_posix() for path in (root / "emsa_jax").rglob("*.py")
    }
    package |= {name.removesuffix("/__init__") for name in package}
    return sorted(
        test
        for test in tests - set(across)
        if Path(test).with_name(Path(test).stem.removeprefix("test_")).as_posix() not in package
    )


def loads_jax(root, *imports):
    """Whether a Python that imports modules, or runs config files, has loaded jax afterwards."""
    code = "import sys, runpy\n" + "\n".join(imports) + "\nprint('jax' in sys.modules)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root)}, check=True, capture_output=True, text=True)
    return said.stdout.splitlines()[-1] == "True"


def test_rooms_import_in_one_order(house):
    assert house.unknown_rooms() == set()
    assert house.upward_imports() == []


def test_no_files_import_in_a_circle(house):
    assert house.circles() == []


def test_functions_are_short(house):
    assert too_long(house) == {}


def test_jobs_are_short(house):
    assert long_jobs(house) == {}


def test_few_calls_have_many_positional_arguments(house):
    assert len(house.wide_calls()) <= WIDE_CALLS, house.wide_calls()


def test_a_run_has_few_options(house):
    assert house.leaf_options() <= OPTIONS


def test_settings_and_configs_load_no_jax():
    configs = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
    assert "grpo" in configs
    given = {"ablation": "'bench'"}  # which is nothing without a table's name
    calls = [f"runpy.run_path('configs/{name}.py')['get_config']({given.get(name, '')})" for name in configs]
    assert not loads_jax(ROOT, "import emsa_jax.settings.config", "import emsa_jax.settings.presets", *calls)


def test_the_reading_path_names_twelve_files_in_order():
    lines = (ROOT / "docs/how_it_works.md").read_text().splitlines()
    rows = [re.match(r"\| (\d+) \| `(\S+\.py)` \|", line) for line in lines]
    found = [(int(row[1]), row[2]) for row in rows if row]
    assert [number for number, _ in found] == list(range(1, 13))
    assert [path for _, path in found if not (ROOT / "emsa_jax" / path).is_file()] == []


def test_tests_mirror_the_package():
    assert without_module(ROOT) == []
    assert {name for name in ACROSS if not (ROOT / "tests" / name).exists()} == set()


# ----------------------------------------------------------------------------- each check sees what it is there for


@pytest.mark.parametrize(
    "source",
    [
        "from emsa_jax.jobs import prepare",
        "from emsa_jax.jobs.prepare import run",
        "import emsa_jax.jobs.prepare",
        "import emsa_jax.jobs.prepare as p",
        "from ..jobs import prepare",
        "from emsa_jax import jobs",
        "def f():\n    from emsa_jax.jobs.prepare import run",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from emsa_jax.jobs.prepare import run",
        "try:\n    import emsa_jax.jobs.prepare\nexcept ImportError:\n    pass",
    ],
)
def test_an_upward_import_is_seen_wherever_it_stands(build, source):
    found = build({"data/readers.py": source, "jobs/prepare.py": ""}).upward_imports()
    assert [(i.importer, i.rooms) for i in found] == [("emsa_jax.data.readers", ("data", "jobs"))]


def test_a_downward_import_is_none(build):
    files = {
        "data/readers.py": "from emsa_jax.errors import InputError\nimport jax.numpy",
        "jobs/prepare.py": "from emsa_jax.data.readers import a\nfrom . import other\nfrom emsa_jax import __name__",
        "jobs/other.py": "",
        "errors.py": "",
    }
    assert build(files).upward_imports() == []


def test_what_all_may_use_uses_no_room(build):
    files = {
        "manifest.py": "from emsa_jax.errors import E\nfrom emsa_jax.data import a",
        "errors.py": "",
        "data/a.py": "",
    }
    assert [i.imported for i in build(files).upward_imports()] == ["emsa_jax.data.a"]


def test_a_room_that_is_not_listed_is_seen(build):
    assert build({"data/a.py": "", "helpers/a.py": "", "utils.py": ""}).unknown_rooms() == {"helpers", "utils"}


def test_a_circle_is_seen(build):
    files = {
        "data/a.py": "from emsa_jax.data import b",
        "data/b.py": "def f():\n    from emsa_jax.data.c import g",
        "data/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from emsa_jax.data.a import f",
        "data/d.py": "from emsa_jax.data.a import f",
        "data/e.py": "import emsa_jax.data.e",
    }
    assert build(files).circles() == [["emsa_jax.data.a", "emsa_jax.data.b", "emsa_jax.data.c"], ["emsa_jax.data.e"]]


def test_strong_components_are_found_in_any_order():
    edges = {"a": "bc", "b": "d", "c": "d", "d": "ef", "e": "b", "f": "", "g": "ag"}
    assert sorted(map(sorted, strong_components(edges))) == [["a"], ["b", "d", "e"], ["c"], ["f"], ["g"]]


def test_a_long_function_is_seen(build):
    body = "    x = 1\n" * (FUNCTION_LINES - 1)
    house = build(
        {"data/a.py": f"class A:\n  @property\n  def fits(self):\n{body}  async def long(self):\n{body}    x = 2\n"}
    )
    assert list(too_long(house)) == [f"emsa_jax.data.a:{FUNCTION_LINES + 3} long"]


def test_a_long_job_is_seen(build):
    files = {"jobs/fits.py": "x = 1\n" * JOB_LINES, "jobs/long.py": "x = 1\n" * (JOB_LINES + 1)}
    assert long_jobs(build(files | {"data/long.py": files["jobs/long.py"]})) == {"emsa_jax.jobs.long": JOB_LINES + 1}


def test_a_call_with_many_positional_arguments_is_seen(build):
    house = build({"data/a.py": "f(1, 2, 3, 4, 5, 6, 7)\ng(1, 2, 3, 4, 5, 6, 7, *rest)\nh(*x, a=1, b=2)\n"})
    assert house.wide_calls() == {"emsa_jax.data.a:2 g": 8}


def test_options_in_groups_are_counted(build):
    source = """
from __future__ import annotations
from dataclasses import dataclass
from emsa_jax.data.a import Group

@dataclass(frozen=True, kw_only=True)
class Config:
    seed: int = 0
    paths: tuple[str, ...] = ()
    first: Group = Group()
    second: Group = Group()
"""
    group = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Group:
    a: int = 0
    b: str | None = None
"""
    assert build({"settings/config.py": source, "data/a.py": group}).leaf_options() == 6


@pytest.mark.parametrize("source, loads", [("import json", False), ("import emsa_jax.data.a", True)])
def test_jax_that_is_loaded_is_seen(build, source, loads):
    house = build({"settings/config.py": source, "data/a.py": "import jax"})
    (house.root / "jax.py").touch()
    assert loads_jax(house.root, "import emsa_jax.settings.config") is loads


def test_a_test_without_a_module_is_seen(build):
    root = build({"data/a.py": "", "data/readers/csv.py": "", "main.py": ""}).root
    for name in ("data/test_a.py", "data/test_readers.py", "data/readers/test_csv.py", "test_main.py", "test_a.py"):
        (root / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "tests" / name).touch()
    assert without_module(root) == ["test_a.py"]
    assert without_module(root, across={"test_a.py"}) == []
