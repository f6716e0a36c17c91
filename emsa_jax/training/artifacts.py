"""Where the stages of a run leave what later ones read."""

from __future__ import annotations

from pathlib import Path

from emsa_jax import manifest
from emsa_jax.answers.recorded_traces import RECORD
from emsa_jax.config.edge import digest
from emsa_jax.data.data_options import Dataset
from emsa_jax.data.facts import FACTS
from emsa_jax.data.records import MANIFEST, Manifest, read_manifest
from emsa_jax.errors import InputError
from emsa_jax.policy.tensor_files import tensor_files
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config

PUPPETS = {
    "puppets:en": Dataset("puppets:en", score_range=(-3.0, 3.0), language="en"),
    "puppets:zh": Dataset("puppets:zh", score_range=(-1.0, 1.0), language="zh"),
    "puppets:concepts_en": Dataset("puppets:concepts_en", dataset="ch_cems", score_range=(-1.0, 1.0), language="en"),
    "puppets:concepts_zh": Dataset("puppets:concepts_zh", dataset="ch_cems", score_range=(-1.0, 1.0), language="zh"),
}


def datasets(config: Config) -> dict[str, Dataset]:
    """The run's data sets by role: "train", and "cross" where there is one."""
    if not config.data:
        raise InputError("config.data: name a data set: a directory, a csv, or puppets:en")
    # the puppets' other domain is a second domain of puppets alone, not of a user's own clips
    other = config.cross.data and (config.cross.data not in PUPPETS or config.data in PUPPETS)
    return {"train": config.train_set} | ({"cross": config.cross} if other else {})


def records_dir(run: Run, config: Config, name: str) -> Path:
    """Where a data set's records lie: its own directory if it came prepared."""
    dataset = datasets(config)[name]
    path = Path(dataset.data)
    return path if is_prepared(path) else run.path("records", name)


def taught_by(run: Run, config: Config, name: str) -> Manifest | None:
    """The training set's manifest, where a data set is to be asked about as that was; else None."""
    as_train = name == "cross" and config.cross.asked_as == "train"
    return read_manifest(records_dir(run, config, "train")) if as_train else None


def traces_file(run: Run, config: Config) -> Path:
    """The teacher's traces: as named (of a directory, its record), or traces.jsonl beside the data."""
    if config.traces:
        path = Path(config.traces)
        return path / RECORD if path.is_dir() else path
    if config.data in PUPPETS:
        return puppet_dir(run, config.data) / "traces.jsonl"
    path = Path(config.data)
    return (path if path.is_dir() else path.parent) / "traces.jsonl"


def policy_dir(run: Run, config: Config) -> Path:
    """The policy that the run starts from."""
    if config.policy in ("3B", "7B"):
        raise InputError(
            f"config.policy: {config.policy} names a size, and weights are never fetched; give the "
            f"directory of a Qwen2.5-Omni-{config.policy} checkpoint"
        )
    if not config.policy:
        raise InputError("config.policy: name a checkpoint directory, or tiny")
    return run.path("policy") if config.policy == "tiny" else Path(config.policy)


def is_prepared(path: Path) -> bool:
    """Whether a directory holds records."""
    return (path / MANIFEST).is_file()


def labels_of(dataset: Dataset) -> tuple[tuple[float, float], str]:
    """(score_range, language) of a data set, as given or its own."""
    known = PUPPETS.get(dataset.data, dataset)
    facts = FACTS[dataset.dataset or "plain"]
    return tuple(known.score_range or facts.score_range), known.language or facts.language


def reader_of(dataset: Dataset) -> str:
    """How a data set is read: as named, or as its puppets want it."""
    return PUPPETS.get(dataset.data, dataset).dataset


def puppet_dir(run: Run, name: str) -> Path:
    """Where a puppet domain's raw clips lie."""
    return run.path("puppets", name.split(":")[1])


def weights_fingerprint(directory: Path) -> str:
    """Stands for the weights of a policy directory, wherever they lie."""
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
            f"adapter {adapter} was trained over another base than {policy}; name its own as "
            "config.policy (if these are the same weights in other files, remove the adapter's "
            f"{manifest.NAME})"
        )


def _manifest(directory: Path) -> dict:
    try:
        return manifest.read_manifest(directory)
    except (OSError, ValueError) as error:
        raise InputError(f"{directory}: {error}; copy or export it again") from error


def cold_started(run: Run, config: Config) -> tuple[Path, Path | None]:
    """(policy directory, adapter directory or None) that GRPO starts from and takes as its reference."""
    if run.path("sft", "policy").is_dir():
        return run.path("sft", "policy"), None
    adapter = run.path("sft", "adapter")
    if not adapter.is_dir():
        adapter = Path(config.adapter) if config.adapter else None
    return policy_dir(run, config), adapter


def policies(run: Run, config: Config) -> dict[str, tuple[Path, Path | None]]:
    """Stage -> (policy directory, adapter directory or None), in order: what there is to evaluate and export."""
    found = {"zero_shot": (policy_dir(run, config), Path(config.adapter) if config.adapter else None)}
    if any(run.path("sft", kind).is_dir() for kind in ("policy", "adapter")):
        found["sft"] = cold_started(run, config)
    adapter = run.path("grpo", "adapter")
    if adapter.is_dir():
        base = cold_started(run, config)[0]
        if base == run.path("sft", "policy"):  # it may have been trained anew since
            check_base(adapter, base)
        found["grpo"] = (base, adapter)
    return found
