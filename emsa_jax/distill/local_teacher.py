"""Our own policy as the teacher: several sampled answers to each clip, of which the best by reward stands."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.messages import messages
from emsa_jax.append_log import AppendLog, Row
from emsa_jax.config.edge import digest
from emsa_jax.data.records import Entry
from emsa_jax.distill.checks import Truth
from emsa_jax.distill.client import Reply
from emsa_jax.distill.distill_options import LocalOptions
from emsa_jax.distill.distill_plan import DistillPlan, truth_row
from emsa_jax.distill.distillation import answered, now
from emsa_jax.distill.progress import Progress
from emsa_jax.distill.teacher_prompts import spoken
from emsa_jax.errors import InputError
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import adapter_fingerprint, fingerprint, open_checkpoint
from emsa_jax.rewards.plugins import load_plugins
from emsa_jax.rollout.answering import abstract_inputs, compile_answers, judge, texts_of
from emsa_jax.rollout.prompted_data import open_split
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.rollout.sampler import EVALUATION
from emsa_jax.runtime.console import progress
from emsa_jax.runtime.programs import Programs
from emsa_jax.settings.config import Config


def named(plan: DistillPlan, options: LocalOptions) -> DistillPlan:
    """The plan with a name for the policy that stands for its weights, wherever they lie, and for how it is asked."""
    if not options.policy:
        raise InputError("config.local.policy: name the policy's checkpoint directory")
    for name in ("policy", "adapter"):
        if (value := getattr(options, name)) and not Path(value).is_dir():
            raise InputError(f"config.local.{name}: there is no directory {value}")
    adapter = adapter_fingerprint(Path(options.adapter)) if options.adapter else ""
    what = [fingerprint(options.policy), adapter, options.sampling, options.dtype, options.audio_in_video]
    return replace(plan, teacher=replace(plan.teacher, model=f"policy {digest(what)[:16]}"))


def distill_locally(
    plan: DistillPlan,
    options: LocalOptions,
    concepts: ConceptOptions,
    data: str,
    split: str,
    record: AppendLog,
    known: Progress,
    left: list[tuple[int, Entry, Truth]],
) -> None:
    """Adds the answers to all samples that are left, a batch at a time; those that the record has are not added again.

    What is drawn for a clip does not depend on the others, so a run that was killed goes on with the same answers."""
    if not left:
        return
    shown = PromptOptions(
        video=plan.teacher.video != "none", audio=plan.teacher.audio != "none", audio_in_video=options.audio_in_video
    )
    config = Config(
        policy=options.policy,
        data=data,
        format=plan.format.name,
        concepts=concepts,
        dtype=options.dtype,
        prompt=shown,
        sampling=options.sampling,
        reward=options.reward,
    )
    checkpoint = open_checkpoint(options.policy, options.dtype)
    adapter = peft.load_adapter(options.adapter, checkpoint.config) if options.adapter else None
    clips = open_split(config, Path(data), checkpoint, split)
    budgets, plugins, programs = clips.budgets(options.batch_size), load_plugins(options.reward.plugins), Programs()
    shapes = {
        bucket: abstract_inputs(checkpoint.config, budget, options.batch_size) for bucket, budget in budgets.items()
    }
    compile_answers(programs, "answer", checkpoint.params, adapter, checkpoint, shapes, options.sampling, plan.attempts)
    edges = np.array(clips.buckets())
    with progress(len(left), "answering") as advance:
        for bucket in clips.buckets():
            members = [one for one in left if edges[np.searchsorted(edges, clips.lengths[one[0]])] == bucket]
            for start in range(0, len(members), options.batch_size):
                chosen = members[start : start + options.batch_size]
                indices = [index for index, _, _ in chosen]
                inputs = clips.prompter.inputs([clips[i] for i in indices], budgets[bucket], options.batch_size)
                ids = np.array(indices + [0] * (options.batch_size - len(indices)), np.int32)
                done = jax.device_get(
                    programs[f"answer/{bucket}"](
                        checkpoint.params, adapter, inputs, np.array([plan.seed, 0, EVALUATION], np.int32), ids
                    )
                )
                texts, ended = texts_of(checkpoint, done, len(indices)), done.ended[: len(indices)]
                totals = judge(
                    plan.format,
                    [entry for _, entry, _ in chosen],
                    texts,
                    ended,
                    options.reward,
                    plugins,
                    plan.neutral_eps,
                ).total
                rows = [
                    _row(
                        plan,
                        options,
                        entry,
                        truth,
                        g,
                        texts[n][g],
                        bool(ended[n, g]),
                        int(done.length[n, g]),
                        float(totals[n, g]),
                    )
                    for n, (_, entry, truth) in enumerate(chosen)
                    for g in _missing(plan, known, entry.id)
                ]
                record.append(*rows)
                advance(len(chosen))


def _missing(plan: DistillPlan, known: Progress, id: str) -> range:
    """The attempts at a clip that the record does not have yet."""
    sample = known.samples.get(id)
    made = sum(key.ask == plan.asks["write"] for key in sample.answers) if sample else 0
    return range(made, plan.attempts)


def _row(
    plan: DistillPlan,
    options: LocalOptions,
    entry: Entry,
    truth: Truth,
    g: int,
    text: str,
    ended: bool,
    length: int,
    reward: float,
) -> Row:
    there = {kind: kind in truth.modalities for kind in ("video", "audio")}
    chat = messages(plan.format, spoken(entry), entry.language, there["video"], there["audio"])
    system, user = ("".join(part.get("text", "") for part in message["content"]) for message in chat)
    prompt = {"system": system, "user": user, "media": there}
    reply = Reply(answer=text, finish="stop" if ended else "length", answer_tokens=length)
    sha = hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()
    return {"kind": "attempt", "id": entry.id, "step": "write", "attempt": g, "ask": plan.asks["write"],
            "teacher": plan.teacher.model, "prompt": prompt, "prompt_sha256": sha,
            "parameters": {"temperature": options.sampling.temperature, "top_p": options.sampling.top_p,
                           "max_tokens": options.sampling.max_completion_length, "seed": plan.seed},
            "answer": text, "finish": reply.finish,
            "truth": truth_row(truth, polarity_of(truth.score, plan.neutral_eps)),
            **answered(plan, reply, truth), "reward": round(reward, 6), "tokens": {"prompt": 0, "answer": length},
            "requests": 0, "time": {"ended": now(), "seconds": 0.0}}  # fmt: skip
