"""The stages of a run in turn. A stage whose inputs hash the same and whose outputs are sound is skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from emsa_jax.answers.concept_table import concept_table
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.recorded_traces import read_any_traces
from emsa_jax.config.edge import digest, to_dict
from emsa_jax.data.data_options import Dataset
from emsa_jax.data.records import Entry, read_manifest
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError
from emsa_jax.evaluation.sentiment_metrics import family_of
from emsa_jax.jobs.evaluate import evaluate
from emsa_jax.jobs.export import export
from emsa_jax.jobs.prepare import clips_of, labelled_splits, prepare_all
from emsa_jax.jobs.report import report
from emsa_jax.manifest import sha256_file
from emsa_jax.parallel import processes
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import adapter_fingerprint, fingerprint, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.rewards.plugins import load_plugins
from emsa_jax.rollout.prompted_data import open_split
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import (
    PUPPETS,
    check_base,
    cold_started,
    datasets,
    policies,
    policy_dir,
    records_dir,
    taught_by,
    traces_file,
)
from emsa_jax.training.grpo import grpo
from emsa_jax.training.sft import sft

# what a stage reads of the config; the rest cannot change its outputs
_READS = {
    "sft": (
        "seed",
        "dtype",
        "format",
        "concepts",
        "prompt",
        "labels",
        "modality_dropout",
        "balance",
        "mix",
        "lora",
        "sampling",
        "reward",
        "sft",
        "evaluate",
        "adapter",
    ),
    "grpo": (
        "seed",
        "dtype",
        "format",
        "concepts",
        "prompt",
        "labels",
        "modality_dropout",
        "balance",
        "mix",
        "lora",
        "sampling",
        "reward",
        "hint",
        "adv",
        "loss",
        "grpo",
    ),
    "export": ("export", "adapter"),
}

_GENTLE = 1e-4  # more than this unlearns what a pretrained policy knows


def check_inputs(config: Config) -> None:
    """Looks at all that the user named, before anything is made of it. Raises: InputError naming what is wrong."""
    stages = set(config.stages)
    if stages - {"export"}:
        for role, dataset in datasets(config).items():
            _check_splits(config, role, dataset)
    if stages & {"sft", "grpo", "evaluate"}:
        load_plugins(config.reward.plugins)
        _check_concepts(config)
    for directory in config.mix.data:
        read_manifest(directory)
    rate = config.sft.optimizer.learning_rate
    if "sft" in stages and config.policy != "tiny" and config.sft.trainable == "all" and rate > _GENTLE:
        say(
            f"sft.trainable=all: all of {config.policy} is trained, at a learning rate of "
            f"{rate:g}, as tiny wants it; for a pretrained policy take a preset such as "
            "msa_thinker"
        )
    if stages - {"prepare", "report"} and config.policy != "tiny":
        policy = open_checkpoint(policy_dir(None, config), weights=False)
        if config.adapter:
            peft.load_adapter(config.adapter, policy.config)
            check_base(Path(config.adapter), policy.directory)
    if "sft" in stages and config.data not in PUPPETS and config.sft.targets == "traces":
        read_any_traces(traces_file(None, config))


def _check_labels(
    config: Config, dataset: Dataset, clips: Sequence[Sample | Entry], score_range: tuple[float, float]
) -> None:
    """Raises InputError for a clip whose concepts the table does not know, or if no clip has one to be rewarded for."""
    if not set(config.stages) & {"sft", "grpo", "evaluate"}:
        return
    format = make_format(config.format, score_range, config.labels.neutral_eps, config.concepts)
    truths = [format.truth(clip) for clip in clips]
    rewarded = "concept" in format.parts and config.reward.weight("concept") > 0
    if "grpo" in config.stages and rewarded and not any(truth.concepts for truth in truths if truth):
        raise InputError(
            f"{dataset.data}: no clip has a label of {', '.join(c.name for c in format.marked)}; name a "
            "table of the concepts that it has (config.concepts.table), or set reward.weights.concept=0"
        )


def _check_concepts(config: Config) -> None:
    """Raises InputError for a table of concepts that cannot be read, or weights of concepts that it does not have."""
    known = [concept.name for concept in concept_table(config.concepts)]
    for name in config.reward.concept_weights:
        if name not in known:
            raise InputError(f"reward.concept_weights.{name}: no such concept; there are {', '.join(known)}")


def _check_splits(config: Config, role: str, dataset: Dataset) -> None:
    """Raises InputError if a stage will find no clips of a split it needs, or labels that no metric is made for."""
    clips, score_range = clips_of(dataset, config.read)
    if role == "train" and clips is not None:
        _check_labels(config, dataset, clips, score_range)
    labelled = labelled_splits(clips)
    for stage, split in _splits_read(config, role):
        if split not in labelled:
            raise InputError(
                f"{dataset.data}: stage {stage} needs clips of mode {split}, and there are none; add "
                f"some, or leave {stage} out of stages"
            )
    if "evaluate" in config.stages and labelled[config.evaluate.split]:
        family_of(score_range)


def _splits_read(config: Config, role: str) -> list[tuple[str, str]]:
    """(stage, split) of all clips that the run's stages ask about."""
    reads = {"evaluate": [config.evaluate.split]}
    if role == "train":
        reads |= {"sft": ["train", "valid"], "grpo": ["train"]}
    return [(stage, split) for stage in config.stages for split in reads.get(stage, ())]


def _check_prompts(run: Run, config: Config) -> None:
    """Raises InputError, before anything is learned, if a prompt that a stage will come to fits no bucket."""
    checkpoint = open_checkpoint(policy_dir(run, config), weights=False)
    for role in datasets(config):
        for split in sorted({split for _, split in _splits_read(config, role)}):
            open_split(
                config, records_dir(run, config, role), checkpoint, split, taught=taught_by(run, config, role)
            ).buckets()


def _check_batch(run: Run, config: Config) -> None:
    """Raises InputError, before anything is learned, if a step of GRPO cannot be cut as the mesh cuts batches."""
    policy = read_checked_config(policy_dir(run, config))
    placement = Placement.of(policy, mesh=config.mesh, dtype=config.dtype, trained=config.lora, announce=False)
    placement.sharding.check(config.grpo.prompts_per_step, "grpo.prompts_per_step", config.grpo.micro_batches)


def run_stages(run: Run, config: Config) -> None:
    """Runs what `config.stages` names. Preparing and evaluating look after their own parts."""
    if config.prompt.buckets and "prepare" not in config.stages:
        processes.broadcast(lambda: _check_prompts(run, config), "prompts")
    for stage in config.stages:
        work, outputs = _STAGES[stage]
        if stage in ("prepare", "report"):  # no work for devices: process 0 alone
            processes.broadcast(lambda work=work: work(run, config), stage)
            if stage == "prepare" and config.prompt.buckets:
                processes.broadcast(lambda: _check_prompts(run, config), "prompts")
            continue
        if stage == "sft" and "grpo" in config.stages:
            _check_batch(run, config)
        if config.policy == "tiny" and config.adapter:  # whose base was not there before
            processes.broadcast(lambda: check_base(Path(config.adapter), policy_dir(run, config)), "the adapter's base")
        if stage not in _READS:
            work(run, config)
            continue
        inputs = processes.broadcast(lambda stage=stage: _inputs(run, config, stage), f"what {stage} reads")
        if run.stage_done(stage, inputs):
            say(f"{stage}: done already")
            continue
        work(run, config)
        run.mark_done(stage, inputs, [path for path in outputs(run) if path.exists()])


def _inputs(run: Run, config: Config, stage: str) -> str:
    parts = [to_dict(getattr(config, name)) for name in _READS[stage]]
    if stage == "sft":
        traces = sha256_file(traces_file(run, config)) if config.sft.targets == "traces" else ""
        parts += [
            fingerprint(policy_dir(run, config)),
            traces,
            _records(run, config),
            adapter_fingerprint(Path(config.adapter) if config.adapter else None),
        ]
    if stage == "grpo":
        directory, adapter = cold_started(run, config)
        parts += [fingerprint(directory), adapter_fingerprint(adapter), _records(run, config)]
    if stage == "export":
        directory, adapter = list(policies(run, config).values())[-1]
        parts += [fingerprint(directory), adapter_fingerprint(adapter)]
    return digest(parts)


def _records(run: Run, config: Config) -> str:
    every = (records_dir(run, config, "train"), *config.mix.data)
    return digest([read_manifest(directory).digest for directory in every])


_STAGES: dict[str, tuple[Callable[[Run, Config], None], Callable[[Run], list[Path]]]] = {
    "prepare": (prepare_all, lambda run: []),
    "sft": (sft, lambda run: [run.path("sft", "policy"), run.path("sft", "adapter")]),
    "grpo": (grpo, lambda run: [run.path("grpo", "adapter")]),
    "evaluate": (evaluate, lambda run: []),
    "export": (export, lambda run: [run.path("export")]),
    "report": (report, lambda run: []),
}
