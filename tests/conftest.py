"""Settings that every test needs, and a run of the main job that is small enough for tests, started as a user
starts it.

Its reward plug-in, which the job loads like any other, also tells where the job is: a line for each compiled program
that is called, each checkpoint and export that is written, and each compilation.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Programs that take long to compile are compiled once, whichever test and process asks first. They are named by all
# that they are made from, so that a changed program is another one. Jobs keep theirs in their work directories.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.abspath(os.path.join(__file__, "../../build/test_programs")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")

import functools
import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from absl import flags
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
if importlib.util.find_spec("jaxtyping"):  # without it, tests/test_shapes.py says what is missing
    runpy.run_path(str(ROOT / "tests/shapes.py"))["check"](ROOT / "emsa_jax")

from emsa_jax import main  # noqa: E402 (after what checks it)

WITHOUT_TORCH = ROOT / "tests" / "without_torch"
TOGETHER = ("policy", "learning", "rollout", "serving")  # rooms whose files share fixtures that compile

SIZES = {
    "puppets.num_train": 24,
    "puppets.num_valid": 8,
    "puppets.num_test": 8,
    "puppets.trace_share": 1.0,
    "prepare.workers": 1,
    "sampling.max_completion_length": 80,
    "sft.max_steps": 4,
    "sft.optimizer.warmup": 4,
    "sft.optimizer.learning_rate": 4e-4,
    "sft.batch_size": 8,
    "sft.micro_batches": 0,
    "sft.eval_every": 2,
    "sft.save_every": 1,
    "grpo.max_steps": 3,
    "grpo.optimizer.warmup": 3,
    "grpo.optimizer.learning_rate": 1.2e-3,
    "grpo.prompts_per_step": 4,
    "grpo.group_size": 4,
    "grpo.micro_batches": 2,
    "grpo.save_every": 1,
    "grpo.answer_rows": "(3,)",
    "evaluate.batch_size": 8,
    "evaluate.samples": 1,
    # a policy that has learned next to nothing gets rewards that differ, and some of its groups are hard
    "reward.plugins": "('mini_reward:letters',)",
    "hint.threshold": 0.75,
    "hint.truncated_as_fail": False,
    "hint.polarity_nll": 0.1,
}

PLUGIN = '''
"""A reward for letters, and a report of where the job is, to the file named by MARKS."""
import functools
import os
import sys

import jax
import jax.monitoring

from emsa_jax.runtime import programs
from emsa_jax.learning import checkpoints
from emsa_jax.policy import hf, peft

STAGES = tuple(
    f"emsa_jax.{name}"
    for name in (
        "training.align",
        "training.align_gradient",
        "training.sft",
        "training.grpo",
        "evaluation.kept_answers",
        "jobs.export",
    )
)
FILE = os.open(os.environ["MARKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def letters(text, parsed, sample):
    """The share of letters."""
    return sum(c.isalpha() for c in text) / max(len(text), 1)


def mark(what):
    os.write(FILE, f"{what}\\n".encode())


def stage(frame):
    """Which stage has led to a call."""
    while frame is not None:
        if frame.f_globals["__name__"] in STAGES:
            return frame.f_globals["__name__"].rsplit(".", 1)[-1]
        frame = frame.f_back


def marked(function, what):
    """The function with a mark "<stage> <what>" before and its results awaited after."""
    def call(*arguments, **options):
        mark(f"{stage(sys._getframe(1))} {what}")
        return jax.block_until_ready(function(*arguments, **options))
    return call


def program(self, *arguments, plain=programs.Program.__call__):
    return marked(functools.partial(plain, self), self.name)(*arguments)


def compiled(event, seconds, **_):
    if event.endswith("backend_compile_duration"):
        mark("compile")


programs.Program.__call__ = program
checkpoints.Checkpoints.save = marked(checkpoints.Checkpoints.save, "save")
hf.save = marked(hf.save, "write")
peft.save_adapter = marked(peft.save_adapter, "write")
jax.monitoring.register_event_duration_secs_listener(compiled)
'''


@dataclass
class Mini:
    """The main job in a work directory. marks: what the last start reported; peak: bytes of its process tree."""

    workdir: Path
    plugin: Path
    seconds: float = 0.0
    peak: int = 0
    output: str = field(default="", repr=False)

    @property
    def marks_file(self) -> Path:
        return self.workdir.with_name(self.workdir.name + ".marks")

    @property
    def marks(self) -> list[str]:
        return self.marks_file.read_text().splitlines() if self.marks_file.exists() else []

    @property
    def log(self) -> str:
        """What the last start has printed so far."""
        return self.marks_file.with_suffix(".out").read_text()

    def start(self, **options) -> subprocess.Popen:
        """Starts the job in a session of its own, so that all its processes can be killed together."""
        self.marks_file.unlink(missing_ok=True)
        path = f"{self.plugin}{os.pathsep}{WITHOUT_TORCH}"
        environment = os.environ | {"MARKS": str(self.marks_file), "PYTHONPATH": path, "COLUMNS": "120"}
        command = [
            sys.executable,
            "-m",
            "emsa_jax.main",
            "--config=configs/grpo.py",
            f"--workdir={self.workdir}",
            *(f"--config.{name}={value}" for name, value in (SIZES | options).items()),
        ]
        with open(self.marks_file.with_suffix(".out"), "w") as out:
            return subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def run(self, **options) -> int:
        """Runs the job to its end; returns its exit status."""
        begun, process = time.monotonic(), self.start(**options)
        while process.poll() is None:
            self.peak = max(self.peak, _memory(process.pid))
            time.sleep(0.2)
        self.seconds, self.output = time.monotonic() - begun, self.log
        return process.returncode

    def files(self, *below: str) -> dict[str, bytes]:
        """Relative path -> bytes of the files in some of its directories (default: all)."""
        found = {}
        for top in below or (".",):
            for path in sorted((self.workdir / top).rglob("*")):
                if path.is_file():
                    found[path.relative_to(self.workdir).as_posix()] = path.read_bytes()
        return found

    def copy(self, workdir: Path, *parts: str) -> "Mini":
        """A work directory with copies of some of this one's parts (default: all)."""
        workdir.mkdir()
        for name in parts or os.listdir(self.workdir):
            source = self.workdir / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, workdir / name)
        return Mini(workdir, self.plugin)


def _memory(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


class GroupScheduling(LoadScopeScheduling):
    """Gives each worker whole groups of tests: those that look at the same run, those of a room that share fixtures,
    and else those of a file."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> GroupScheduling:
    """The scheduler of `pytest -n 2`."""
    return GroupScheduling(config, log)


@functools.cache
def group_of(path: str) -> str:
    """The group of a file of tests, given from the root of the repository."""
    file = Path(path).relative_to("tests")
    if re.search(r"def test_\w+\([^)]*\bmini\b", (ROOT / path).read_text(encoding="utf-8")):
        return "mini"
    return file.parts[0] if file.parts[0] in TOGETHER else file.with_suffix("").as_posix()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups come first, so that no worker is left alone with one of them at the end."""
    groups = [group_of(item.path.relative_to(ROOT).as_posix()) for item in items]
    order = sorted(range(len(items)), key=lambda i: groups[i] not in ("mini", "parallel/test_two_processes"))
    items[:] = [items[i] for i in order]


@pytest.fixture(scope="session", autouse=True)
def without_torch() -> Iterator[None]:
    """Processes that tests start find no torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(WITHOUT_TORCH), prepend=os.pathsep)
        patch.setenv("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # which would say so
        yield


@pytest.fixture(scope="session")
def mini(tmp_path_factory) -> Mini:
    """One undisturbed run. Tests that change anything work on a copy."""
    plugin = tmp_path_factory.mktemp("plugin")
    (plugin / "mini_reward.py").write_text(PLUGIN)
    job = Mini(tmp_path_factory.mktemp("mini") / "run", plugin)
    status = job.run()
    assert status == 0, job.output
    print(f"\nthe run took {job.seconds:.0f} s and {job.peak / 2**20:.0f} MiB")
    return job


@pytest.fixture
def forget_flags():
    """A function that lets the flags be parsed anew."""

    def forget():
        flags.FLAGS.unparse_flags()
        for name in [name for name in flags.FLAGS if name.startswith("config.")]:
            delattr(flags.FLAGS, name)
        flags.FLAGS["config"].unparse()

    return forget


@pytest.fixture
def started(monkeypatch, capfd, forget_flags):
    """(arguments, config=FILE) -> (exit status, stdout, stderr) of a start in this process."""

    def start(*arguments, config):
        argv = ["emsa_jax.main", f"--config={config}", *(f"--config.{argument}" for argument in arguments)]
        monkeypatch.setattr(sys, "argv", argv)  # where config overrides are looked for
        forget_flags()
        capfd.readouterr()
        status = 0
        try:
            main._run(argv)
        except SystemExit as exit:
            status = exit.code
        forget_flags()
        return status, *capfd.readouterr()

    return start
