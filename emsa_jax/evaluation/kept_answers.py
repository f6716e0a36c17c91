"""Prediction: the answers of a policy to a data set, asked once and kept under a hash of all that decides them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.answers.messages import messages
from emsa_jax.config.edge import digest, to_dict
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.evaluation.journal import Answered, Journal, read_answers
from emsa_jax.parallel import processes
from emsa_jax.policy.lora import Adapter
from emsa_jax.rollout.answering import asked_clips, compile_answers, expect_scores, predict
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.rollout_options import PromptOptions, SamplingOptions
from emsa_jax.rollout.sampler import Completions
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.programs import Program, Programs


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """The options of a run that asking reads."""

    dtype: str
    seed: int
    prompt: PromptOptions
    sampling: SamplingOptions
    evaluate: EvaluateOptions


@dataclass(frozen=True, kw_only=True)
class LoadedPolicy:
    """A policy that answers. base, adapter: laid out for decoding. fingerprint: hashes of the files of both."""

    base: dict
    adapter: Adapter | None
    placement: Placement
    fingerprint: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One way to ask: every option that decides the answers. The batch size, how many clips are asked about and by how
    many processes are not among them, since they change no answer. seed: None if nothing is drawn."""

    dtype: str
    split: str
    prompt: PromptOptions
    sampling: SamplingOptions
    answers: int
    seed: int | None


def questions(settings: AnswerSettings) -> dict[str, Question]:
    """Kind -> how each clip is asked about: "greedy"; "sampled" where samples are wanted; "expected", the greedy answer
    with its expected score, where that is."""
    options, sampling = settings.evaluate, settings.sampling
    greedy = SamplingOptions(temperature=0.0, max_completion_length=sampling.max_completion_length)
    kinds = {"greedy": (greedy, 1)} | ({"sampled": (sampling, options.samples)} if options.samples else {})
    kinds |= {"expected": (greedy, 1)} if options.decode == "expected" else {}
    return {
        kind: Question(
            dtype=settings.dtype,
            split=options.split,
            prompt=settings.prompt,
            sampling=drawn,
            answers=answers,
            seed=None if drawn.greedy else settings.seed,
        )
        for kind, (drawn, answers) in kinds.items()
    }


def answers_of(
    settings: AnswerSettings, split: Split, policy: LoadedPolicy, root: Path, label: str
) -> dict[str, list[Answered]]:
    """Kind of `questions` -> the answers to each clip of the split, in its order, on every process.

    Answers on disk, below `root`, are read. The others are asked for, and each batch is on disk before the next one.
    """
    asked = {
        kind: _Asked.of(kind, question, split, root / answers_name(kind, question, split, policy.fingerprint))
        for kind, question in questions(settings).items()
    }
    programs, batch_size = Programs(policy.placement.decode), settings.evaluate.batch_size
    written = [one for kind, one in asked.items() if kind != "expected"]
    compiled = [one.compile(programs, split, policy, batch_size) for one in written]
    total = sum(len(one.missing) for one in asked.values())
    if not total:
        say(f"evaluating {label}: all answers are known")
    else:
        with progress(total, f"evaluating {label}") as advance:
            for one, ready in zip(written, compiled, strict=True):
                one.keep(one.answers(ready, split, policy, settings), split, policy, advance)
            if "expected" in asked:
                greedy, one = asked["greedy"].known, asked["expected"]
                one.keep(one.expected(greedy, programs, split, policy, batch_size), split, policy, advance)
    return {kind: [one.known[entry.id] for entry in split.entries] for kind, one in asked.items()}


def answers_name(kind: str, question: Question, split: Split, policy_fingerprint: Mapping[str, str]) -> str:
    """The name of the folder of these answers: a hash of the policy, the data, the prompt's text, the question, and
    of the grid where scores are expected."""
    prompter = split.prompter
    content = {
        "policy": dict(policy_fingerprint),
        "data": split.manifest.digest,
        "language": prompter.language,
        "asked": messages(prompter.format, "", prompter.language or "en", True, True),
    }
    if kind == "expected":
        content["ends"] = [list(end) for end in prompter.format.score_ends()]
    return digest(content | to_dict(question))[:16]


@dataclass(frozen=True)
class _Asked:
    """The answers of one kind. directory: where they are kept. known: id -> answers. missing: places in the split."""

    kind: str
    question: Question
    directory: Path
    known: dict[str, Answered]
    missing: list[int]

    @classmethod
    def of(cls, kind: str, question: Question, split: Split, directory: Path) -> _Asked:
        found = processes.broadcast(lambda: read_answers(directory), f"answers known: {kind}")
        known = {id: Answered(*one) for id, one in found.items()}
        missing = [i for i, entry in enumerate(split.entries) if entry.id not in known]
        return cls(kind, question, directory, known, missing)

    def compile(self, programs: Programs, split: Split, policy: LoadedPolicy, batch_size: int) -> dict[int, Program]:
        """Prompt bucket -> the compiled program that answers; {} if nothing is missing."""
        if not self.missing:
            return {}
        placement = policy.placement
        asked = asked_clips(split, batch_size, placement.sharding.num_shards, self.missing)
        inputs = {bucket: placement.inputs(one.shape, one.rows) for bucket, one in asked.items()}
        return compile_answers(
            programs,
            self.kind,
            policy.base,
            policy.adapter,
            split.prompter.checkpoint.config,
            inputs=inputs,
            sampling=self.question.sampling,
            group_size=self.question.answers,
        )

    def answers(
        self, compiled: Mapping[int, Program], split: Split, policy: LoadedPolicy, settings: AnswerSettings
    ) -> Iterator[tuple[list[int], list[Answered]]]:
        """(places in the split, answers to these clips) of what is missing, batch by batch."""

        def run(bucket: int, *rest: Any) -> Completions:
            return compiled[bucket](policy.base, policy.adapter, *rest)

        batch_size, sharding = settings.evaluate.batch_size, policy.placement.sharding
        for indices, texts, ended in predict(split, run, batch_size, settings.seed, sharding, self.missing):
            groups = zip(texts, ended, strict=True)
            yield indices, [Answered(list(group), np.asarray(done).tolist()) for group, done in groups]

    def expected(
        self, greedy: Mapping[str, Answered], programs: Programs, split: Split, policy: LoadedPolicy, batch_size: int
    ) -> Iterator[tuple[list[int], list[Answered]]]:
        """The same of greedy answers with their expected scores."""
        every, placement = [greedy[entry.id] for entry in split.entries], policy.placement
        found = expect_scores(
            split,
            programs,
            policy.base,
            policy.adapter,
            [one.texts for one in every],
            batch_size=batch_size,
            inputs=placement.inputs,
            sharding=placement.sharding,
            members=self.missing,
        )
        for indices, scores in found:
            known = [[score if np.isfinite(score) else None for score in group] for group in scores.tolist()]
            yield indices, [every[i]._replace(scores=group) for i, group in zip(indices, known, strict=True)]

    def keep(
        self,
        batches: Iterable[tuple[list[int], list[Answered]]],
        split: Split,
        policy: LoadedPolicy,
        advance: Callable,
    ) -> None:
        """Asks for what is missing, and adds it to what is known."""
        if not self.missing:
            return
        new, sharding = {}, policy.placement.sharding  # new: the answers that this process asked for
        journal = Journal(self.directory, processes.process_index(), processes.process_count())
        try:
            for indices, given in batches:
                ids = [split.entries[i].id for i in indices]
                journal.write(ids, given)
                new |= zip(ids, given, strict=True)
                advance(len(indices) * sharding.groups)
        finally:
            journal.close()
        lines = np.frombuffer(json.dumps(list(new.items())).encode() + b"\n", np.uint8)
        for part in sharding.all_gather(lines, f"answers: {self.kind}").tobytes().splitlines():
            self.known.update({id: Answered(*one) for id, one in json.loads(part)})
