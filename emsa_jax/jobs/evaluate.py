"""Evaluation: every policy of the run on every data set, from the answers that prediction left."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.config.fields import no_effect
from emsa_jax.data.datasets import DataSettings, datasets
from emsa_jax.data.records import read_index, read_manifest
from emsa_jax.evaluation.kept_answers import AnswerSettings, LoadedPolicy, answers_of
from emsa_jax.evaluation.measuring import MeasureSettings, measure, tell_unread
from emsa_jax.evaluation.result_files import write_result
from emsa_jax.parallel import processes
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.planning.memory import AnswerWork, answer_memory
from emsa_jax.planning.memory_advice import announce, answer_advice
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import Checkpoint, load_weights, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.layout import place
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.rollout.answering import asked_clips
from emsa_jax.rollout.expected_scores import ScoreTree
from emsa_jax.rollout.prompted_data import Split, open_split
from emsa_jax.rollout.rollout_options import EncodingOptions
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import (
    PolicySettings,
    inputs_digest,
    policies,
    policy_fingerprint,
    records_dir,
    training_manifest,
)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(DataSettings, PolicySettings, AnswerSettings, MeasureSettings):
    """What the stage reads of a run's options."""

    format: str
    concepts: ConceptOptions
    lora: LoraOptions
    encodings: EncodingOptions
    mesh: MeshOptions
    attention: str = no_effect()


@dataclass(frozen=True)
class _Opened:
    """A policy as its evaluation finds it: without weights, which are loaded only if something must be asked."""

    checkpoint: Checkpoint
    adapter_dir: Path | None
    placement: Placement
    fingerprint: dict[str, str]

    @classmethod
    def of(cls, settings: EvaluateSettings, directory: Path, adapter_dir: Path | None, fingerprint: dict) -> _Opened:
        policy = read_checked_config(directory)
        placement = Placement.of(policy, mesh=settings.mesh, dtype=settings.dtype, trained=None)
        placement.sharding.check(settings.evaluate.batch_size, "evaluate.batch_size")
        checkpoint = open_checkpoint(directory, weights=False, attention=settings.attention)
        return cls(checkpoint, adapter_dir, placement, fingerprint)

    @functools.cached_property
    def adapter(self) -> Adapter | None:
        """On the host."""
        return peft.load_adapter(self.adapter_dir, self.checkpoint.config) if self.adapter_dir else None

    def load(self, settings: EvaluateSettings, split: Split) -> LoadedPolicy:
        """The policy as it decodes, after a line about the memory that answering the split takes."""
        placement, config = self.placement, self.checkpoint.config
        asked = asked_clips(split, settings.evaluate.batch_size, placement.sharding.num_shards)
        most = max(asked.values(), key=lambda one: one.slots)
        expects = settings.evaluate.decode == "expected"
        work = AnswerWork(
            dtype=settings.dtype,
            adapter=settings.lora if self.adapter_dir else None,
            batch_size=most.rows,
            answers=max(1, settings.evaluate.samples),
            answer_slots=settings.sampling.max_completion_length,
            ends=len(ScoreTree.of(self.checkpoint, split.prompter.format).tokens) if expects else 0,
        )
        memory = answer_memory(work, config, placement, most.shape)
        announce(memory, answer_advice(memory, work, placement))
        base = load_weights(self.checkpoint, settings.dtype, placement.decode).params
        adapter = self.adapter and place(self.adapter, placement.decode.adapter(self.adapter))
        return LoadedPolicy(base=base, adapter=adapter, placement=placement, fingerprint=self.fingerprint)


def evaluate(run: Run, settings: EvaluateSettings) -> None:
    """evaluate/<policy>/<data set>/{predictions.jsonl, metrics.json} for each pair; finished ones are kept."""
    answers_root = Path(settings.evaluate.answers) if settings.evaluate.answers else run.path("evaluate", "answers")
    asked = policies(run, settings)
    prints = processes.broadcast(lambda: {n: policy_fingerprint(*at) for n, at in asked.items()}, "policies")
    for name, (directory, adapter_dir) in asked.items():
        opened = loaded = None
        for role, dataset in datasets(settings).items():
            records, learned_as = records_dir(run, settings, role), training_manifest(run, settings, role)
            train = records_dir(run, settings, "train")  # floors are its, and how hard clips are the cold start's
            data = [read_manifest(path).digest for path in (records, train)]
            inputs = inputs_digest(settings, *data, prints[name], prints.get("sft"))
            if run.stage_done(f"evaluate {name} {role}", inputs):
                continue
            opened = opened or _Opened.of(settings, directory, adapter_dir, prints[name])
            which = settings.evaluate.split, settings.evaluate.max_clips
            split = open_split(settings, records, opened.checkpoint, *which, taught=learned_as)
            split = split.encoded(settings, run.workdir, opened.adapter)
            loaded = loaded or opened.load(settings, split)
            split.load_towers(loaded.base)
            answers = answers_of(settings, split, loaded, answers_root, f"{name} on {dataset.data}")
            result, rows = measure(
                settings,
                split,
                answers,
                train=read_index(train, "train"),
                domain_train=read_index(records, "train"),
                cold_start=run.path("evaluate", "sft", role, "predictions.jsonl"),
            )
            write_result(run.path("evaluate", name, role), result, rows)
            if len(asked) == 1:  # of a policy that was trained here, its stage warns
                tell_unread(rows, dataset.data, settings.guard.unparsed)
            run.mark_done(f"evaluate {name} {role}", inputs, [run.path("evaluate", name, role)])
