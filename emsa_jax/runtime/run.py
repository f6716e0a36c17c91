"""The record of a run: one directory that says what was asked, with which software, what came out, and what
is done.

    config.json, versions.json      what was asked; every set of software that worked on it
    metrics.jsonl, tensorboard/     curves
    stages.json                     finished stages, with hashes of what went in and came out
"""

import contextlib
import fcntl
import json
import os
import platform
import secrets
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from emsa_jax.config.edge import to_dict
from emsa_jax.errors import InputError
from emsa_jax.manifest import sha256_file, write_atomic
from emsa_jax.parallel import processes
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.metric_log import MetricLog, NoLog

__all__ = ["MetricLog", "Run", "open_run", "progress", "say", "versions"]

LIBRARIES = (
    "jax",
    "jaxlib",
    "numpy",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "array-record",
    "ml_dtypes",
    "safetensors",
    "tokenizers",
    "transformers",
    "av",
    "librosa",
    "soxr",
    "scikit-learn",
)


@dataclass
class Run:
    """An open work directory, held by this run alone until `close` (or its death). Process 0 writes it; the others
    read, and learn from process 0 what is done."""

    workdir: Path
    config: dict[str, Any]
    _lock: TextIO | None = field(repr=False)
    _logs: list[MetricLog] = field(default_factory=list, repr=False)

    def path(self, *parts: str) -> Path:
        """A path inside the work directory."""
        return self.workdir.joinpath(*parts)

    def write(self, name: str, data: bytes) -> None:
        """A file of the work directory, whole or not at all."""
        if processes.is_main():
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path(name), data)

    def metrics(self, stage: str) -> MetricLog | NoLog:
        """The metric rows of a stage; see MetricLog."""
        if not processes.is_main():
            return NoLog()
        self._logs.append(MetricLog(self.path("metrics.jsonl"), stage, self.path("tensorboard", stage)))
        return self._logs[-1]

    def stage_done(self, name: str, inputs_digest: str) -> bool:
        """Whether a stage was finished with these inputs and all its outputs are still, to the bit, as it
        left them."""
        return processes.broadcast(lambda: self._is_done(name, inputs_digest), f"whether {name} is done")

    def _is_done(self, name: str, inputs_digest: str) -> bool:
        done = self._stages().get(name)
        if done is None or done["inputs"] != inputs_digest:
            return False
        for output, sha256 in done["outputs"].items():
            path = self.workdir / output
            if not path.is_file() or sha256_file(path) != sha256:
                say(f"stage {name} is done again: {path} is {'changed' if path.is_file() else 'missing'}")
                return False
        return True

    def mark_done(self, name: str, inputs_digest: str, outputs: Iterable[str | os.PathLike]) -> None:
        """Notes a stage as finished. outputs: files, or directories meaning all files below, absolute or in
        the workdir."""
        processes.broadcast(lambda: self._mark(name, inputs_digest, outputs), f"{name} is done")

    def _mark(self, name: str, inputs_digest: str, outputs: Iterable[str | os.PathLike]) -> None:
        files = sorted(file for output in outputs for file in _files(self.workdir / output))
        hashes = {os.path.relpath(file, self.workdir): sha256_file(file) for file in files}
        _write_json(self.path("stages.json"), self._stages() | {name: {"inputs": inputs_digest, "outputs": hashes}})

    def close(self) -> None:
        """Flushes the logs and gives the directory free."""
        for log in self._logs:
            log.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stages(self) -> dict[str, Any]:
        return _read_json(self.path("stages.json")) or {}


def open_run(workdir: str | os.PathLike, config: Any, ignore: Iterable[str] = ()) -> Run:
    """Opens a work directory for a config (a dataclass), new or to go on with.

    ignore: dotted fields that may differ from the earlier start's; a group's name covers its fields. Raises
    InputError if another run holds the directory, or if it was made with another config (naming the first
    field that differs). Other software, or another number of visible CPUs, is one warning line: results may
    then differ in the last bits.
    """
    workdir = Path(workdir).expanduser().absolute()
    opened: list[Run] = []
    processes.broadcast(lambda: opened.append(_open(workdir, config, ignore)), "opening the work directory")
    _check_shared(workdir)
    return opened[0] if opened else Run(workdir, to_dict(config), None)


def _open(workdir: Path, config: Any, ignore: Iterable[str]) -> Run:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = open(workdir / ".lock", "a")  # noqa: SIM115 (held as long as the run)
    except OSError as error:
        raise InputError(f"cannot use {workdir} as workdir: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InputError(f"another run is at work in {workdir}; wait for it, or choose another --workdir") from error
    try:
        _check_config(workdir, to_dict(config), tuple(ignore))
        for place in (".", "evaluate/*/*", "grpo/completions"):  # files that a killed start was writing
            for left in workdir.glob(f"{place}/.*.tmp-*"):
                left.unlink()
        _note_versions(workdir)
    except BaseException:
        lock.close()
        raise
    return Run(workdir, to_dict(config), lock)


def _check_shared(workdir: Path) -> None:
    """Raises InputError unless all processes see one directory."""
    if processes.process_count() == 1:
        return
    mark = workdir / ".shared"
    token = secrets.token_hex()
    token = processes.broadcast(lambda: write_atomic(mark, token.encode()) or token, "work directory")
    for _ in range(20):  # network file systems may take a while to show a new file
        seen = mark.exists() and mark.read_text() == token
        if seen:
            break
        time.sleep(0.5)
    blind = [
        process
        for process, value in enumerate(processes.exchange(b"1" if seen else b"", "work directory seen"))
        if not value
    ]
    if blind:
        raise InputError(
            f"{workdir} is not shared: process {blind[0]} does not see what process 0 writes there; name "
            "a --workdir on storage that all hosts share"
        )
    processes.broadcast(mark.unlink, "work directory is shared")


def versions() -> dict[str, Any]:
    """Software and machine, as far as they can change results: flat, name -> version or value."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "git": _git_commit(),
    }
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


def _check_config(workdir: Path, config: dict[str, Any], ignore: tuple[str, ...]) -> None:
    path = workdir / "config.json"
    before = _read_json(path)
    if before is not None:
        old, new = _flat(before), _flat(config)
        names = [
            name
            for name in dict.fromkeys([*new, *old])
            if old.get(name, "absent") != new.get(name, "absent")
            and not any(name == field or name.startswith(f"{field}.") for field in ignore)
        ]
        if names:
            told = "; ".join(
                f"config.{name} = {old.get(name, 'absent')!r}, not {new.get(name, 'absent')!r}" for name in names[:10]
            )
            more = f"; and {len(names) - 10} more" if len(names) > 10 else ""
            raise InputError(
                f"{workdir} belongs to a run with {told}{more}. Give the fields that it was made with "
                "(config.json there), or choose another --workdir"
            )
    if before != config:
        _write_json(path, config)


def _note_versions(workdir: Path) -> None:
    path, now = workdir / "versions.json", versions()
    history = _read_json(path) or []
    if history and history[-1] != now:
        last = history[-1]
        changes = [
            f"{name} {last.get(name)} -> {now.get(name)}" for name in {**last, **now} if last.get(name) != now.get(name)
        ]
        say(
            f"warning: not the machine or software this run began with ({', '.join(changes)}): "
            "results may differ in the last bits"
        )
    if not history or history[-1] != now:
        _write_json(path, [*history, now])


def _git_commit() -> str | None:
    """The commit of this package's own repository, "+" if files differ from it; None outside of one."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parents[2]), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()

    try:
        if not (Path(__file__).parents[2] / ".git").exists():
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file()]
    if not path.is_file():
        raise FileNotFoundError(f"a stage's output is not there: {path}")
    return [path]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged; restore it, or choose another --workdir") from error


def _write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False).encode() + b"\n")
