"""The validation split while a stage learns: greedy answers to some of its clips, what they earn and whether they are
all the same, and the best that was trained so far."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.answers.answer_format import Answer, Truth
from emsa_jax.data.records import read_index
from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.answering import Asked, asked_clips, compile_answers, predict
from emsa_jax.rollout.prompted_data import QuestionOptions, Split, open_split
from emsa_jax.rollout.rollout_options import PromptOptions, SamplingOptions
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.programs import Program, Programs

T = TypeVar("T")


class JudgedOptions(Protocol):
    """What decides how answers are rewarded."""

    reward: RewardOptions
    prompt: PromptOptions


@dataclass(frozen=True, kw_only=True)
class Look:
    """What greedy answers to some clips come to, on all processes together.

    clips: how many there are. reward: the mean, as float32, so that ties stay ties. accuracy: share of the clips with a
    label whose class is named; None without such a clip. unparsed: share of the answers in which no label can be read.
    distinct: different answers. commonest_answer: share of the commonest one. commonest_class: share of the answers
    that name the class which is named most often; 0 where none is named. true_class: share of the commonest class among
    the labels. short_answers: whether answers hold no reasoning, so that right ones may be the same.
    """

    clips: int
    reward: float
    accuracy: float | None
    unparsed: float
    distinct: int
    commonest_answer: float
    commonest_class: float
    true_class: float
    short_answers: bool = False

    @classmethod
    def of(cls, rewards: np.ndarray, codes: np.ndarray, short_answers: bool = False) -> Self:
        """rewards: [clips] float64. codes: [clips, 4] int64: of the answer, of the class that it names, of the true one
        (0 for none), and whether its label was read."""
        answers, named, true, read = codes.T
        labelled = true != 0
        return cls(
            clips=len(codes),
            reward=float(np.float32(np.mean(rewards))),
            accuracy=float((named == true)[labelled].mean()) if labelled.any() else None,
            unparsed=float(1 - read.mean()),
            distinct=len(np.unique(answers)),
            commonest_answer=_commonest(answers) / len(codes),
            commonest_class=_commonest(named[named != 0]) / len(codes),
            true_class=_commonest(true[labelled]) / max(int(labelled.sum()), 1),
            short_answers=short_answers,
        )

    def metrics(self) -> dict[str, float]:
        """As a row of metrics holds it."""
        values = {
            "eval/reward": self.reward,
            "eval/accuracy": self.accuracy,
            "eval/unparsed": self.unparsed,
            "eval/distinct_answers": self.distinct,
            "eval/commonest_answer": self.commonest_answer,
            "eval/commonest_class": self.commonest_class,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Clips of the validation split that are asked about, always the same ones. asked: prompt bucket -> its clips, in
    batches of `batch_size` at most. seed: of the run."""

    split: Split
    asked: Mapping[int, Asked]
    score_answers: AnswerScorer
    batch_size: int
    seed: int
    sharding: BatchSharding = SINGLE_PROCESS

    @classmethod
    def of(
        cls, split: Split, records: Path, options: JudgedOptions, *, batch_size: int, seed: int, sharding: BatchSharding
    ) -> Self:
        """The validation on a split of some records, by whose training set classes are balanced."""
        format, modalities = split.prompter.format, options.prompt.modalities
        scorer = AnswerScorer.of(format, options.reward, read_index(records, "train"), modalities=modalities)
        asked = asked_clips(split, batch_size, sharding.num_shards)
        return cls(split=split, asked=asked, score_answers=scorer, batch_size=batch_size, seed=seed, sharding=sharding)

    def look(self, answer: Callable[..., Any], after: str) -> Look:
        """Asks about every clip. answer: (bucket, inputs, noise, prompt_ids) -> Completions. after: the stage and step,
        for errors. Raises InputError where log-probabilities are not finite."""
        split, rewards, codes = self.split, [], []
        for indices, texts, ended in _told_after(
            after, predict(split, answer, self.batch_size, self.seed, self.sharding)
        ):
            entries = [split.entries[i] for i in indices]
            table = self.score_answers(entries, texts, ended)
            for entry, group, parsed, total in zip(entries, texts, table.parsed, table.total, strict=True):
                truth = split.prompter.format.truth(entry)
                rewards.append(total[0])
                codes.append([_code(group[0]), _code(_class(parsed[0])), _code(_class(truth)), parsed[0].is_read])
        local = {"rewards": np.array(rewards, np.float64), "codes": np.array(codes, np.int64).reshape(-1, 4)}
        found = self.sharding.all_gather(local, "validation")
        return Look.of(**found, short_answers=not split.prompter.format.has_reasoning)


@dataclass(kw_only=True)
class Progress:
    """What a stage keeps between its steps, and a checkpoint with it.

    best: what is trained, at the highest validation reward so far; None where nothing is validated. best_reward,
    best_step: that reward, and after how many steps it was; 0 before the first look. first_reward: of the first look.
    misses: looks since the best. stopped: whether there were too many of them.
    """

    state: Any
    best: Any
    best_reward: float = -math.inf
    best_step: int = 0
    first_reward: float | None = None
    misses: int = 0
    stopped: bool = False

    @classmethod
    def start(cls, state: Any, validated: bool) -> Self:
        """Before the first step."""
        return cls(state=state, best=jax.tree.map(jnp.copy, state.params) if validated else None)

    @classmethod
    def restored(cls, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> Self:
        """What `saved` made of it."""
        reward = -math.inf if meta["best_reward"] is None else meta["best_reward"]
        return cls(**arrays, **{**meta, "best_reward": reward})

    def saved(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(arrays, JSON values) of a checkpoint."""
        meta = {
            "best_reward": self.best_reward if math.isfinite(self.best_reward) else None,
            "best_step": self.best_step,
            "first_reward": self.first_reward,
            "misses": self.misses,
            "stopped": self.stopped,
        }
        return {"state": self.state, "best": self.best}, meta

    def judge(self, reward: float, step: int) -> bool:
        """Keeps what is trained after so many steps, if nothing earned more; of equals, what was trained longest.
        Returns whether it does."""
        self.note_first(reward)
        self.misses = 0 if reward > self.best_reward else self.misses + 1
        if not reward >= self.best_reward:
            return False
        self.best, self.best_reward, self.best_step = jax.tree.map(jnp.copy, self.state.params), reward, step
        return True

    def begin_anew(self, state: Any) -> None:
        """Goes on with a state that was made of what is kept; the best stays the one to beat."""
        self.state, self.misses, self.stopped = state, 0, False

    def note_first(self, reward: float) -> None:
        """Remembers the reward of the first look."""
        self.first_reward = reward if self.first_reward is None else self.first_reward

    @property
    def kept(self) -> Any:
        """What the stage leaves: the best, or what was trained last where nothing was validated."""
        return self.best if self.best_step else self.state.params


def open_validation(options: QuestionOptions, records: Path, checkpoint: Checkpoint, most: int) -> Split | None:
    """At most so many clips of the validation split, evenly over its order; None where it has none."""
    ids = [entry.id for entry in read_index(records, "valid")]
    chosen = [ids[i * len(ids) // most] for i in range(most)] if len(ids) > most else ids
    return open_split(options, records, checkpoint, "valid", ids=set(chosen)) if chosen else None


def compile_validation(
    programs: Programs,
    asked: Mapping[int, Asked],
    base: Any,
    adapter: Any,
    policy: ThinkerConfig,
    *,
    placement: Placement,
    max_completion_length: int,
) -> dict[int, Program]:
    """Adds to `programs` those that answer greedily: prompt bucket -> (base, adapter, inputs, noise, prompt_ids) ->
    Completions. base, adapter: as decoding reads them; they may be ShapeDtypeStructs."""
    return compile_answers(
        programs,
        "answer",
        base,
        adapter,
        policy,
        inputs={bucket: placement.inputs(one.shape, one.rows) for bucket, one in asked.items()},
        sampling=SamplingOptions(temperature=0.0, max_completion_length=max_completion_length),
        group_size=1,
    )


def _told_after(after: str, batches: Iterator[T]) -> Iterator[T]:
    """The same batches; errors begin with the stage and step."""
    try:
        yield from batches
    except InputError as error:
        raise InputError(f"{after}: {error}; the last checkpoint is kept") from error


def _class(said: Answer | Truth | None) -> str:
    """The class that an answer or a label names, "" for none."""
    return "" if said is None else said.sentiment or said.polarity or ""


def _code(text: str) -> int:
    """A number that stands for a text among those of all processes; 0 for none."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7]) + 1 if text else 0


def _commonest(codes: np.ndarray) -> int:
    """How often the commonest number is there."""
    return int(np.unique(codes, return_counts=True)[1].max(initial=0))
