"""The record of a run: a directory that says what was asked, with which software, what came out and what is done.

config.json, versions.json      what was asked, and each set of software that has worked on it
metrics.jsonl, tensorboard/     curves
stages.json                     finished stages, with hashes of what went in and came out
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from emsa_jax.config.edge import to_dict
from emsa_jax.config.fields import growing, without_effect
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_saved_json
from emsa_jax.manifest import sha256_file, write_atomic
from emsa_jax.parallel import processes
from emsa_jax.runtime.console import say
from emsa_jax.runtime.metric_log import MetricLog, NoLog
from emsa_jax.runtime.versions import versions

_ADVICE = "restore it, or choose another --workdir"
_STAGES = {str: {"inputs": str, "outputs": {str: str}}}  # in the terms of `json_file.misfit`
_VERSIONS = [{str: (str, int, None)}]
_LONGER = {  # field that says how long a stage is -> the one that adds to it
    f"{stage}.{name}": f"{stage}.extend" for stage in ("sft", "grpo") for name in ("max_steps", "epochs")
}
_BUILT_ON = {"sft.extend": "grpo"}  # field -> the directory of the stage that began with what it changes
# Files that a killed start may have been writing: it leaves them under temporary names in these directories.
_WRITTEN_IN = (".", "evaluate/*/*", "grpo/completions", "encodings/*", "curves")


@dataclass
class Run:
    """An open work directory, which no other run can open before `close` or the end of this process.

    Process 0 writes to it. The other processes read it, and hear from process 0 which stages are done.

    Attributes:
      config: the options of the run as JSON-like values.
    """

    workdir: Path
    config: dict[str, Any]
    _lock: TextIO | None = field(repr=False)
    _logs: list[MetricLog] = field(default_factory=list, repr=False)

    def path(self, *parts: str) -> Path:
        """A path inside the work directory."""
        return self.workdir.joinpath(*parts)

    def metrics(self, stage: str) -> MetricLog | NoLog:
        """Opens the metric rows of a stage, which `close` closes; see MetricLog."""
        if not processes.is_main():
            return NoLog()
        self._logs.append(MetricLog(self.path("metrics.jsonl"), stage, self.path("tensorboard", stage)))
        return self._logs[-1]

    def stage_done(self, name: str, inputs_digest: str) -> bool:
        """Whether a stage was finished with these inputs, and all its outputs are to the bit as it left them."""
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
        """Notes that a stage is finished.

        Args:
          outputs: files, or directories for all files in them, absolute or relative to the work directory.
        """
        processes.broadcast(lambda: self._mark(name, inputs_digest, outputs), f"{name} is done")

    def _mark(self, name: str, inputs_digest: str, outputs: Iterable[str | os.PathLike]) -> None:
        files = sorted(file for output in outputs for file in _files(self.workdir / output))
        hashes = {os.path.relpath(file, self.workdir): sha256_file(file) for file in files}
        _write_json(self.path("stages.json"), self._stages() | {name: {"inputs": inputs_digest, "outputs": hashes}})

    def close(self) -> None:
        """Closes the logs and releases the directory."""
        for log in self._logs:
            log.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stages(self) -> dict[str, Any]:
        return read_saved_json(self.path("stages.json"), _ADVICE, _STAGES) or {}


def open_run(
    workdir: str | os.PathLike, config: Any, upgrade: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
) -> Run:
    """Opens a work directory, a new one or that of a run to go on with.

    Other software than at the first start, or another number of visible CPUs, is one line of warning: results may
    then differ in the last bits.

    Args:
      config: the options of the run, a dataclass. Fields that cannot change what a stage computes may differ from
        those of the first start.
      upgrade: the config of the first start -> the same with the fields of today, or None if it has these already. It
        raises InputError for a run that is not to be opened.

    Raises:
      InputError: another run has the directory open, or the directory was made with another config. The error names
        the fields that differ.
    """
    workdir = Path(workdir).expanduser().absolute()
    opened: list[Run] = []
    processes.broadcast(lambda: opened.append(_open(workdir, config, upgrade)), "opening the work directory")
    _check_shared(workdir)
    return opened[0] if opened else Run(workdir, to_dict(config), None)


def _open(workdir: Path, config: Any, upgrade: Callable | None) -> Run:
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
        _check_config(workdir, config, upgrade)
        for directory in _WRITTEN_IN:
            for unfinished in workdir.glob(f"{directory}/.*.tmp-*"):
                unfinished.unlink()
        _note_versions(workdir)
    except BaseException:
        lock.close()
        raise
    return Run(workdir, to_dict(config), lock)


def _check_shared(workdir: Path) -> None:
    """Raises InputError unless all processes see the same directory."""
    if processes.process_count() == 1:
        return
    mark = workdir / ".shared"
    token = secrets.token_hex()
    token = processes.broadcast(lambda: write_atomic(mark, token.encode()) or token, "work directory")
    seen = _appears(mark, token)
    answers = processes.exchange(b"1" if seen else b"", "work directory seen")
    blind = [process for process, answer in enumerate(answers) if not answer]
    if blind:
        raise InputError(
            f"{workdir} is not shared: process {blind[0]} does not see what process 0 writes there; name "
            "a --workdir on storage that all hosts share"
        )
    processes.broadcast(mark.unlink, "work directory is shared")


def _appears(path: Path, content: str, tries: int = 20) -> bool:
    """Whether a file with this content can be read within some seconds: a network file system may show it late."""
    for _ in range(tries):
        if path.exists() and path.read_text() == content:
            return True
        time.sleep(0.5)
    return False


def _check_config(workdir: Path, options: Any, upgrade: Callable | None) -> None:
    """Writes config.json. Raises InputError if the run was begun with another config."""
    path = workdir / "config.json"
    before, config = read_saved_json(path, _ADVICE, {str: object}), to_dict(options)
    upgraded = upgrade(before) if before is not None and upgrade is not None else None
    if before is not None:
        old, new = _flatten(before if upgraded is None else upgraded), _flatten(config)
        ignored, grow = without_effect(options), growing(options)
        more = [name for name in grow if _is_more(old.get(name, []), new[name])]
        _check_built_on(workdir, more)
        every = [*new, *old] if upgraded is None else [name for name in new if name in old]
        names = [
            name
            for name in dict.fromkeys(every)
            if old.get(name, [] if name in grow else "absent") != new.get(name, "absent")
            and name not in (*ignored, *more)
        ]
        if names:
            differences = "; ".join(
                f"config.{name} = {old.get(name, 'absent')!r}, not {new.get(name, 'absent')!r}" for name in names
            )
            longer = next((f"; more steps are a further phase: config.{_LONGER[n]}" for n in names if n in _LONGER), "")
            raise InputError(
                f"{workdir} belongs to a run with {differences}. Give the fields that it was made with "
                f"(config.json there), or choose another --workdir{longer}"
            )
    if before != config and upgraded is None:
        _write_json(path, config)


def _is_more(old: Any, new: Any) -> bool:
    """Whether a list begins with another, and goes on."""
    lists = isinstance(old, list) and isinstance(new, list)
    return lists and len(new) > len(old) and new[: len(old)] == old


def _check_built_on(workdir: Path, more: Iterable[str]) -> None:
    """Raises InputError where a stage would be extended that a later one has begun with."""
    for name in more:
        built = workdir / _BUILT_ON.get(name, "") / "checkpoints"
        if name in _BUILT_ON and built.is_dir():
            raise InputError(
                f"config.{name}: {built.parent} was begun with what that stage had left; extend it in a copy of "
                f"{workdir} without {built.parent.name}"
            )


def _note_versions(workdir: Path) -> None:
    """Adds the software of this start to versions.json, with a warning if it is not that of the last start."""
    path, now = workdir / "versions.json", versions()
    history = read_saved_json(path, _ADVICE, _VERSIONS) or []
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


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _files(path: Path) -> list[Path]:
    """A file, or all files in a directory. Raises FileNotFoundError if there is none."""
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file()]
    if not path.is_file():
        raise FileNotFoundError(f"a stage's output is missing: {path}")
    return [path]


def _write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False).encode() + b"\n")
