"""A policy of ours as the teacher: several sampled answers to each clip, of which the best by reward stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np

from emsa_jax.answers.answer_options import ConceptOptions, LabelOptions
from emsa_jax.answers.messages import messages
from emsa_jax.append_log import Row
from emsa_jax.config.edge import digest
from emsa_jax.data.data_options import MODALITIES
from emsa_jax.distill.client import Reply
from emsa_jax.distill.distill_options import DistillOptions, LocalOptions
from emsa_jax.distill.distill_plan import DistillPlan, LabelledSample
from emsa_jax.distill.distillation import check_reply, now
from emsa_jax.distill.open_record import OpenRecord
from emsa_jax.errors import InputError
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import adapter_fingerprint, fingerprint, open_checkpoint
from emsa_jax.policy.inputs import abstract_inputs
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.answering import asked_clips, compile_answers
from emsa_jax.rollout.prompted_data import open_split
from emsa_jax.rollout.prompts import answer_texts
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.rollout.sampler import EVALUATION
from emsa_jax.runtime.console import progress
from emsa_jax.runtime.programs import Programs


def named_after_weights(plan: DistillPlan, options: LocalOptions) -> DistillPlan:
    """The plan, with a model name that stands for the policy's weights, wherever they lie, and for how it is asked.

    Raises InputError where the policy or its adapter is not a directory.
    """
    if not options.policy:
        raise InputError("config.local.policy: name the policy's checkpoint directory")
    for name in ("policy", "adapter"):
        if (value := getattr(options, name)) and not Path(value).is_dir():
            raise InputError(f"config.local.{name}: there is no directory {value}")
    adapter = adapter_fingerprint(Path(options.adapter)) if options.adapter else ""
    identity = [fingerprint(options.policy), adapter, options.sampling, options.dtype, options.audio_in_video]
    return replace(plan, teacher=replace(plan.teacher, model=f"policy {digest(identity)[:16]}"))


def distill_locally(
    plan: DistillPlan, options: DistillOptions, record: OpenRecord, samples: Sequence[LabelledSample]
) -> None:
    """Adds the policy's answers to the samples, a batch at a time; those that the record has are not added again.

    What is drawn for a clip does not depend on the others, so a run that was killed goes on with the same answers.
    """
    if not samples:
        return
    teacher = LocalTeacher(plan, options)
    with progress(len(samples), "answering") as advance:
        for bucket, batch in teacher.batches(samples):
            answers = teacher.answer(bucket, batch)
            record.log.append(
                *(
                    _row(plan, options.local, sample, attempt, answers[n][attempt])
                    for n, sample in enumerate(batch)
                    for attempt in _missing_attempts(plan, record, sample)
                )
            )
            advance(len(batch))


@dataclass(frozen=True, kw_only=True)
class SampledAnswer:
    """One answer of a policy. ended: whether it ended by itself. length: in tokens. reward: the total of its parts."""

    text: str
    ended: bool
    length: int
    reward: float


@dataclass(frozen=True, kw_only=True)
class _PromptSettings:
    """How clips are asked about, under the names that `open_split` reads."""

    format: str
    concepts: ConceptOptions
    prompt: PromptOptions
    labels: LabelOptions = LabelOptions()


class LocalTeacher:
    """A policy with its adapter, and a compiled program for each prompt length of a split. Raises InputError as
    checkpoints, adapters and records do."""

    def __init__(self, plan: DistillPlan, options: DistillOptions) -> None:
        local = options.local
        self.plan, self.options = plan, local
        self.checkpoint = open_checkpoint(local.policy, local.dtype)
        self.adapter = peft.load_adapter(local.adapter, self.checkpoint.config) if local.adapter else None
        asked = {"text": True, "audio": plan.teacher.audio != "none", "video": plan.teacher.video != "none"}
        modalities = tuple(name for name in MODALITIES if asked[name])
        prompt = PromptOptions(modalities=modalities, audio_in_video=local.audio_in_video)
        settings = _PromptSettings(format=plan.format.name, concepts=options.concepts, prompt=prompt)
        self.clips = open_split(settings, Path(options.data), self.checkpoint, options.split)
        self.asked = asked_clips(self.clips, local.batch_size)
        self.score_answers = AnswerScorer.of(plan.format, local.reward)
        shapes = {
            bucket: abstract_inputs(self.checkpoint.config, asked.shape, asked.rows)
            for bucket, asked in self.asked.items()
        }
        self.programs = compile_answers(
            Programs(),
            "answer",
            self.checkpoint.params,
            self.adapter,
            self.checkpoint.config,
            inputs=shapes,
            sampling=local.sampling,
            group_size=plan.attempts,
        )

    def batches(self, samples: Sequence[LabelledSample]) -> Iterator[tuple[int, list[LabelledSample]]]:
        """(prompt length, at most `batch_size` samples whose prompts have about this length), each sample once."""
        for bucket, asked in self.asked.items():
            indices = set(asked.indices.tolist())
            members = [one for one in samples if one.index in indices]
            for start in range(0, len(members), asked.rows):
                yield bucket, members[start : start + asked.rows]

    def answer(self, bucket: int, samples: Sequence[LabelledSample]) -> list[list[SampledAnswer]]:
        """[sample][attempt] -> answer."""
        indices, rows = [one.index for one in samples], self.asked[bucket].rows
        inputs = self.clips.prompter.inputs([self.clips[i] for i in indices], self.asked[bucket].shape, rows)
        ids = np.array(indices + [0] * (rows - len(indices)), np.int32)
        noise = np.array([self.plan.seed, 0, EVALUATION], np.int32)
        done = jax.device_get(self.programs[bucket](self.checkpoint.params, self.adapter, inputs, noise, ids))
        texts, ended = answer_texts(self.checkpoint, done, len(indices)), done.ended[: len(indices)]
        rewards = self.score_answers([one.entry for one in samples], texts, ended).total
        return [
            [
                SampledAnswer(
                    text=text, ended=bool(ended[n, g]), length=int(done.length[n, g]), reward=float(rewards[n, g])
                )
                for g, text in enumerate(group)
            ]
            for n, group in enumerate(texts)
        ]


def _missing_attempts(plan: DistillPlan, record: OpenRecord, sample: LabelledSample) -> range:
    known = record.progress.sample(sample.entry.id)
    made = sum(key.ask == plan.asks["write"] for key in known.answers)
    return range(made, plan.attempts)


def _row(plan: DistillPlan, options: LocalOptions, sample: LabelledSample, attempt: int, answer: SampledAnswer) -> Row:
    _, entry, truth = sample
    media = {kind: kind in truth.modalities for kind in ("video", "audio")}
    chat = messages(plan.format, entry.text, entry.language, media["video"], media["audio"])
    system, user = ("".join(part.get("text", "") for part in message["content"]) for message in chat)
    prompt = {"system": system, "user": user, "media": media}
    reply = Reply(answer=answer.text, finish="stop" if answer.ended else "length", answer_tokens=answer.length)
    return {
        "kind": "attempt",
        "id": entry.id,
        "step": "write",
        "attempt": attempt,
        "ask": plan.asks["write"],
        "teacher": plan.teacher.model,
        "prompt": prompt,
        "prompt_sha256": hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest(),
        "parameters": {
            "temperature": options.sampling.temperature,
            "top_p": options.sampling.top_p,
            "max_tokens": options.sampling.max_completion_length,
            "seed": plan.seed,
        },
        "answer": answer.text,
        "finish": reply.finish,
        "truth": plan.truth_row(truth),
        **check_reply(plan, reply, truth),
        "reward": round(answer.reward, 6),
        "tokens": {"prompt": 0, "answer": answer.length},
        "requests": 0,
        "time": {"ended": now(), "seconds": 0.0},
    }
