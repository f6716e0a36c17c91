"""Which files of the package a GRPO step goes through on the host, found by tracing.

    python benchmarks/walk.py [--root CHECKOUT]

A small run on puppets is started with a checkout's package: GRPO with hints on a tiny policy, without a cold start and
without a checkpoint in between. Every function that is called from the end of one row of metrics.jsonl to the end of
the next is noted, in all threads. Printed are the files that these functions stand in, by room: first those of the
loop's own thread with two counts, of the files in training, rollout, rewards and learning, and of all files; then those
that only the threads go through which read the data of later steps ahead.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

CORE = ("training", "rollout", "rewards", "learning")
MOST_CORE, MOST = 12, 25  # files
SIZES = {
    "stages": "('prepare','grpo')",
    "puppets.num_train": 24,
    "puppets.num_valid": 8,
    "puppets.num_test": 8,
    "prepare.workers": 1,
    "sampling.max_completion_length": 24,
    "grpo.max_steps": 10,
    "grpo.prompts_per_step": 4,
    "grpo.group_size": 2,
    "grpo.save_every": 20,
    "grpo.remat": "none",
    "reward.weights.evidence": 0,  # the papers' method: rewards of claims read answers by a few files more
    "reward.weights.cues": 0,
    "reward.gate_hinted": False,
}


def files_of_a_step(root: Path) -> tuple[list[str], list[str]]:
    """(the files that the loop goes through in a step, those that only threads which read ahead do), relative to the
    package.

    root: a checkout. Raises RuntimeError, with what the run printed, if it fails."""
    with tempfile.TemporaryDirectory() as directory:
        found = Path(directory) / "files.json"
        environment = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
        options = [f"--config.{name}={value}" for name, value in SIZES.items()]
        workdir = f"--workdir={directory}/run"
        command = [sys.executable, __file__, "--trace", str(found), "--config=configs/grpo.py", workdir, *options]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if not found.exists():
            raise RuntimeError(done.stdout + done.stderr)
        return tuple(json.loads(found.read_text()))


def trace(found: Path, arguments: list[str]) -> None:
    """Runs the main job in this process and writes the files of its third step to a JSON file."""
    import importlib

    import emsa_jax

    package = Path(emsa_jax.__file__).parent
    holder = next(path for path in package.rglob("*.py") if "\nclass MetricLog" in path.read_text(encoding="utf-8"))
    log = importlib.import_module(".".join(holder.relative_to(package.parent).with_suffix("").parts)).MetricLog
    called: dict[bool, set[str]] = {True: set(), False: set()}  # by whether the thread is the loop's
    watching = threading.Event()

    def note(frame, event: str, _) -> None:
        if event == "call" and watching.is_set():
            called[threading.current_thread() is threading.main_thread()].add(frame.f_code.co_filename)

    def write(self, step: int, values, plain=log.write) -> None:
        plain(self, step, values)
        if step == 2:
            watching.set()
            sys.setprofile(note)
        elif step == 3:
            watching.clear()
            sys.setprofile(None)
            if not values["hint/trigger_rate"]:
                raise RuntimeError("no group was hard in the step that is traced")
            parts = (called[True], called[False] - called[True])
            paths = [[Path(name) for name in part if Path(name).is_relative_to(package)] for part in parts]
            found.write_text(json.dumps([sorted(p.relative_to(package).as_posix() for p in part) for part in paths]))

    log.write = write
    threading.setprofile(note)  # of the threads that the run starts: they are not traced before the event is set
    sys.argv = ["emsa_jax.main", *arguments]
    runpy.run_module("emsa_jax.main", run_name="__main__")


def by_room(files: list[str]) -> dict[str, list[str]]:
    """Room -> its files; files that stand in no room are under ""."""
    rooms = defaultdict(list)
    for name in files:
        room, _, rest = name.rpartition("/") if "/" not in name else name.partition("/")
        rooms[room].append(rest)
    return dict(rooms)


def counts(files: list[str]) -> tuple[int, int]:
    """(files of training, rollout, rewards and learning; all files)."""
    return sum(name.split("/")[0] in CORE for name in files), len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="a checkout")
    loop, ahead = files_of_a_step(parser.parse_args().root.resolve())
    for room, names in by_room(loop).items():
        print(f"{room or 'emsa_jax'}: {', '.join(names)}")
    core, every = counts(loop)
    print(f"{core} files of {', '.join(CORE)} (at most {MOST_CORE}); {every} files in all (at most {MOST})")
    print(f"read ahead by threads, besides: {', '.join(ahead)}: {len(ahead)} files")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--trace"]:
        trace(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
