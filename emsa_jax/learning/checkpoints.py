"""Checkpoints that are whole, verified, or not there. The only file that knows Orbax.

A step is written under a temporary name, hashed (Orbax itself notices almost no flipped bit), and renamed
into place as the last act; an old step is renamed away before it is deleted. So whatever moment the process
is killed at, what bears a step's name is complete, and what does not is rubbish that the next start
removes.

    <directory>/<step>/state/            the arrays, by Orbax
    <directory>/<step>/meta.json         what the caller keeps with them, and the list of arrays
    <directory>/<step>/MANIFEST.json     size and sha256 of all of these
"""

import functools
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from emsa_jax.disk import told_when_full
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_saved_json
from emsa_jax.manifest import fsync, verify, write_atomic, write_manifest
from emsa_jax.parallel import processes
from emsa_jax.policy.finite import all_finite

log = logging.getLogger(__name__)

RUBBISH = ".unfinished-"
_RECORD = {"meta": {str: object}, "arrays": {str: str}}
_ADVICE = "remove this step, and the run goes on from the one before"


class Checkpoints:
    """The steps kept in one directory by one run. Saving is synchronous. Of several processes all save and restore what
    their devices hold, and process 0 does the rest: every method is to be called on all of them."""

    def __init__(self, directory: str | os.PathLike, keep: int = 2) -> None:
        """keep: how many of the newest steps stay, at least 1."""
        if keep < 1:
            raise InputError(f"keep must be at least 1, not {keep}")
        self.directory = Path(directory).absolute()
        self.keep = keep
        processes.broadcast(lambda: self._open(directory), "opening checkpoints")

    def _open(self, directory: str | os.PathLike) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write checkpoints to {directory}: {error.strerror}") from error
        for path in self.directory.glob(f"{RUBBISH}*"):
            shutil.rmtree(path, ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps that are there, oldest first, sound or not."""
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdecimal())

    def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> Path:
        """Writes a pytree of arrays and a JSON-able meta, then deletes what is older than the `keep` newest.

        The step must not be there yet, unless damaged. Returns its directory. Whatever fails is raised with nothing
        left behind and no older step touched; a full disk as DiskFull, with the step that is kept; InputError for
        arrays with numbers that are not finite.
        """
        leaves = _named(state)
        if broken := _not_finite(leaves):
            raise InputError(
                f"checkpoint {self.directory / str(step)} is not written: {broken} holds numbers that are not finite; "
                f"{self._kept()} is kept. Lower the learning rate"
            )
        record = {"meta": dict(meta), "arrays": _describe(leaves)}
        encoded = json.dumps(record, sort_keys=True, indent=1).encode() + b"\n"
        working = self.directory / f"{RUBBISH}{step}-saving"
        needed = sum(leaf.nbytes for leaf in leaves.values())
        with told_when_full(self.directory / str(step), needed, self._kept()):
            processes.broadcast(lambda: self._begin(step, working), f"saving step {step}")
            try:
                with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
                    checkpointer.save(working / "state", args=ocp.args.PyTreeSave(leaves))
                processes.broadcast(lambda: self._finish(step, working, encoded), f"step {step} is saved")
            except BaseException:
                shutil.rmtree(working, ignore_errors=True)
                raise
        return self.directory / str(step)

    def _kept(self) -> str:
        steps = self.steps()
        return f"step {steps[-1]}" if steps else "what was finished before this stage"

    def _begin(self, step: int, working: Path) -> None:
        final = self.directory / str(step)
        if final.exists():
            if not verify(final):
                raise ValueError(f"step {step} is already in {self.directory}")
            self._discard(step)
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()

    def _finish(self, step: int, working: Path, record: bytes) -> None:
        write_atomic(working / "meta.json", record)
        write_manifest(working, {"step": step})
        os.rename(working, self.directory / str(step))
        fsync(self.directory)
        for old in [old for old in self.steps() if old < step][: 1 - self.keep or None]:
            self._discard(old)

    def restore_newest(self, abstract: Any) -> tuple[Any, dict[str, Any], int] | None:
        """(state, meta, step) of the newest sound step, whose hashes all hold; None if no step was ever finished.

        abstract: tree of arrays or ShapeDtypeStructs (with sharding, if any) as `state` was saved; the
        values come back bit for bit. Damaged steps, and those with numbers that are not finite, are named in one
        warning each. Raises InputError if there are steps and none is sound (never a silent fresh start), or if the
        sound one holds other arrays than `abstract`.
        """
        damaged: list[str] = []
        newest_sound = functools.partial(self._newest_sound, damaged)
        while (step := processes.broadcast(newest_sound, "which checkpoint is sound")) is not None:
            state, meta = self._restore(step, abstract)
            if not (broken := _not_finite(_named(state))):
                return state, meta, step
            damaged += self._leave_aside(step, [f"{broken} holds numbers that are not finite"])
        return None

    def _leave_aside(self, step: int, problems: list[str]) -> list[str]:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        log.warning("checkpoint %s is damaged and left aside: %s%s", self.directory / str(step), problems[0], more)
        return [f"step {step} ({problems[0]}{more})"]

    def _newest_sound(self, damaged: list[str]) -> int | None:
        """The newest step whose hashes hold, older than those that are damaged, which are told and added to them."""
        for step in reversed(self.steps()[: len(self.steps()) - len(damaged)]):
            problems = verify(self.directory / str(step))
            if not problems:
                return step
            damaged += self._leave_aside(step, problems)
        if damaged:
            raise InputError(
                f"no checkpoint in {self.directory} is sound: {', '.join(damaged)}; "
                "put a sound copy back, or remove the directory to start afresh"
            )
        return None

    def _restore(self, step: int, abstract: Any) -> tuple[Any, dict[str, Any]]:
        path = self.directory / str(step)
        record = read_saved_json(path / "meta.json", _ADVICE, _RECORD)
        wanted = {name: _abstract(leaf) for name, leaf in _named(abstract).items()}
        saved, expected = record["arrays"], _describe(wanted)
        for name in sorted(saved.keys() | expected.keys()):
            if saved.get(name) != expected.get(name):
                raise InputError(
                    f"checkpoint {path} is of another model or optimizer: {name} is "
                    f"{saved.get(name, 'absent')} there and {expected.get(name, 'absent')} here"
                )
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            arguments = ocp.checkpoint_utils.construct_restore_args(wanted)
            arguments = ocp.args.PyTreeRestore(wanted, restore_args=arguments)
            try:
                restored = checkpointer.restore(path / "state", args=arguments)
            except (ValueError, KeyError, TypeError, FileNotFoundError) as error:  # its hashes hold: somebody made it
                reason = (str(error).strip() or repr(error)).partition("\n")[0][:200]
                raise InputError(f"checkpoint {path} cannot be restored ({reason}); {_ADVICE}") from error
        leaves = [restored[name] for name in wanted]
        return jax.tree.unflatten(jax.tree.structure(abstract), leaves), record["meta"]

    def _discard(self, step: int) -> None:
        rubbish = self.directory / f"{RUBBISH}{step}-old"
        shutil.rmtree(rubbish, ignore_errors=True)
        os.rename(self.directory / str(step), rubbish)
        shutil.rmtree(rubbish, ignore_errors=True)


def _named(tree: Any) -> dict[str, Any]:
    """The tree's leaves by dotted path, in its order: independent of container classes, and readable on
    disk."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}
    if len(named) != len(paths):
        raise ValueError("two leaves of the state have the same dotted path")
    return named


def _not_finite(leaves: Mapping[str, Any]) -> str:
    """The name of the first array of which any process holds numbers that are not finite, "" for none."""
    found = next((name for name, leaf in leaves.items() if not all(map(all_finite, _held(leaf)))), "")
    return next(filter(None, (name.decode() for name in processes.exchange(found.encode(), "finite arrays"))), "")


def _held(leaf: Any) -> Iterator[np.ndarray]:
    """The parts of an array that this process holds, each one once."""
    if not isinstance(leaf, jax.Array):
        yield np.asarray(leaf)
        return
    for shard in leaf.addressable_shards:
        if shard.replica_id == 0:
            yield jax.device_get(shard.data)


def _describe(leaves: Mapping[str, Any]) -> dict[str, str]:
    """name -> "float32[3,4]"."""
    return {name: f"{np.dtype(leaf.dtype).name}[{','.join(map(str, leaf.shape))}]" for name, leaf in leaves.items()}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
