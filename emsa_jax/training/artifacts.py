"""Where the stages of a run find their inputs and leave what later stages read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emsa_jax import manifest
from emsa_jax.answers.recorded_traces import RECORD
from emsa_jax.config.edge import digest, results_digest
from emsa_jax.data.datasets import PUPPETS, DataSettings, asked_as_train, datasets, is_prepared
from emsa_jax.data.records import Manifest, read_manifest
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_saved_json
from emsa_jax.policy.checkpoint import adapter_fingerprint, fingerprint
from emsa_jax.policy.policy_options import EMBEDDED
from emsa_jax.policy.tensor_files import tensor_files
from emsa_jax.runtime.run import Run

SUMMARY = "summary.json"  # of a stage that learns, in its directory: what has become of it


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """The options that say which policy a run starts from; see `settings.config.Config`."""

    policy: str
    adapter: str


class TraceSettings(Protocol):
    """Any options that say where the teacher's traces lie."""

    traces: str
    data: str


def records_dir(run: Run, settings: DataSettings, role: str) -> Path:
    """The directory of a data set's records: the data set itself if it came prepared."""
    path = Path(datasets(settings)[role].data)
    return path if is_prepared(path) else run.path("records", role)


def training_manifest(run: Run, settings: DataSettings, role: str) -> Manifest | None:
    """The training set's manifest if the policy is asked about a data set as about the training set; else None."""
    return read_manifest(records_dir(run, settings, "train")) if asked_as_train(settings, role) else None


def puppet_dir(run: Run, name: str) -> Path:
    """The directory of a puppet domain's raw clips."""
    return run.path("puppets", name.split(":")[1])


def traces_file(run: Run | None, settings: TraceSettings) -> Path:
    """The teacher's traces: as named (of a directory, its record), or traces.jsonl beside the data."""
    if settings.traces:
        path = Path(settings.traces)
        return path / RECORD if path.is_dir() else path
    if settings.data in PUPPETS:
        return puppet_dir(run, settings.data) / "traces.jsonl"
    path = Path(settings.data)
    return (path if path.is_dir() else path.parent) / "traces.jsonl"


def policy_dir(run: Run | None, settings: PolicySettings) -> Path:
    """The policy that the run starts from. Raises InputError for a name that is no directory's."""
    if settings.policy in ("3B", "7B"):
        raise InputError(
            f"config.policy: {settings.policy} names a size, and weights are never fetched; give the "
            f"directory of a Qwen2.5-Omni-{settings.policy} checkpoint"
        )
    if not settings.policy:
        raise InputError("config.policy: name a checkpoint directory, or tiny")
    return run.path("policy") if settings.policy in EMBEDDED else Path(settings.policy)


def aligned_policy_dir(run: Run, settings: PolicySettings) -> Path:
    """The policy that learning starts from: with aligned projectors, where the run has aligned them."""
    aligned = run.path("align", "policy")
    return aligned if aligned.is_dir() else policy_dir(run, settings)


def weights_fingerprint(directory: Path) -> str:
    """A hash of the weights of a policy directory, the same wherever they lie."""
    files = sorted(set(tensor_files(directory).values()))
    if (directory / manifest.NAME).exists():
        listed = _manifest(directory)["files"]
        return digest([listed[file.name]["sha256"] for file in files])
    return digest([manifest.sha256_file(file) for file in files])


def check_base(adapter: Path, policy: Path) -> None:
    """Raises InputError if an adapter of ours says that it was trained over other weights than the policy's."""
    if not (adapter / manifest.NAME).exists():
        return
    base = _manifest(adapter)["extra"].get("base")
    if base not in (None, weights_fingerprint(policy)):
        raise InputError(
            f"adapter {adapter} was trained over another base than {policy}; name that base as "
            "config.policy (if these are the same weights in other files, remove the adapter's "
            f"{manifest.NAME})"
        )


def _manifest(directory: Path) -> dict:
    try:
        return manifest.read_manifest(directory)
    except (OSError, ValueError) as error:
        raise InputError(f"{directory}: {error}; copy or export it again") from error


def cold_started(run: Run, settings: PolicySettings) -> tuple[Path, Path | None]:
    """(policy directory, adapter directory or None) that GRPO starts from and takes as its reference."""
    if run.path("sft", "policy").is_dir():
        return run.path("sft", "policy"), None
    adapter = run.path("sft", "adapter")
    if not adapter.is_dir():
        adapter = Path(settings.adapter) if settings.adapter else None
    return aligned_policy_dir(run, settings), adapter


def policies(run: Run, settings: PolicySettings) -> dict[str, tuple[Path, Path | None]]:
    """Stage -> (policy directory, adapter directory or None), in order: what can be evaluated and exported."""
    found = {"zero_shot": (policy_dir(run, settings), Path(settings.adapter) if settings.adapter else None)}
    if run.path("align", "policy").is_dir():
        found["align"] = (run.path("align", "policy"), None)
    if any(run.path("sft", kind).is_dir() for kind in ("policy", "adapter")):
        found["sft"] = cold_started(run, settings)
    adapter = run.path("grpo", "adapter")
    if adapter.is_dir():
        base = cold_started(run, settings)[0]
        if base == run.path("sft", "policy"):  # it may have been trained anew since
            check_base(adapter, base)
        found["grpo"] = (base, adapter)
    return found


def last_policy(run: Run, settings: PolicySettings) -> tuple[str, Path, Path | None]:
    """(stage, policy directory, adapter directory or None) of the last policy that the run made."""
    name, (directory, adapter) = list(policies(run, settings).items())[-1]
    return name, directory, adapter


def stage_summary(workdir: Path, stage: str) -> dict[str, Any]:
    """What a stage that learns says of itself: "status", "warnings" ...; {} where it did not begin, or was not warned
    of yet. Raises InputError for a damaged file."""
    path = workdir / stage / SUMMARY
    advice = "run the stage again in a new --workdir"
    found = read_saved_json(path, advice, {str: (str, float, None, [str], bool)})
    if found is not None and not isinstance(found.get("warnings"), list):
        raise InputError(f"{path} is damaged; {advice}")
    return found or {}


def refuse_warned(workdir: Path, stage: str) -> None:
    """Raises InputError with the first warning of a stage that is done, for a run whose warnings end it."""
    for line in stage_summary(workdir, stage).get("warnings", ()):
        raise InputError(f"{line} (strict=True)")


def policy_fingerprint(directory: Path, adapter: Path | None) -> dict[str, str]:
    """Hashes of the files of a policy and of its adapter ("" for none)."""
    return {"policy": fingerprint(directory), "adapter": adapter_fingerprint(adapter)}


def inputs_digest(settings: Any, *content: Any) -> str:
    """What a finished stage is known by: the options that it was handed, as far as they can change its results, and
    hashes of the files that it read."""
    return digest([results_digest(settings), *content])
