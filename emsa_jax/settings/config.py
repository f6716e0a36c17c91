"""Everything that can be set, as frozen dataclasses with their defaults; `configs/*.py` choose among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from emsa_jax.answers.concept_table import ConceptOptions
from emsa_jax.answers.formats import CLASS_FORMATS, FORMATS
from emsa_jax.data.readers import READERS
from emsa_jax.data.records import PrepareOptions
from emsa_jax.data.views import ViewOptions
from emsa_jax.errors import InputError
from emsa_jax.learning.advantages import AdvOptions
from emsa_jax.learning.losses import LossOptions
from emsa_jax.learning.optimizer import OptimizerOptions
from emsa_jax.parallel.mesh import MeshOptions
from emsa_jax.policy.attention import Kernel
from emsa_jax.policy.lora import LoraOptions
from emsa_jax.rewards.reward_options import PARTS, RewardOptions
from emsa_jax.rewards.trigger import TriggerOptions
from emsa_jax.rollout.draw import SamplingOptions
from emsa_jax.rollout.hints import HintOptions
from emsa_jax.rollout.prompts import PromptOptions

STAGES = ("prepare", "sft", "grpo", "evaluate", "export", "report")


@dataclass(frozen=True)
class Dataset:
    """A data set: an MMSA directory, a csv of paths and labels, a directory of records, or a puppet domain
    ("puppets:en", "puppets:zh"; annotated as CH-CEMS is: "puppets:concepts_en", "puppets:concepts_zh"); "" for none.
    reader: a name of docs/data_sets.md, "" to go by the layout. score_range, language: (), "" for the set's own.
    asked_as: in its own language and score range, or in those of the training set, scores carried over into its
    own."""

    data: str = ""
    score_range: tuple[float, ...] = ()
    language: str = ""
    asked_as: Literal["own", "train"] = "own"
    reader: str = ""

    def __post_init__(self) -> None:
        if self.score_range and not (len(self.score_range) == 2 and self.score_range[0] < self.score_range[1]):
            raise InputError(f"score_range must be two numbers that rise, not {self.score_range}")
        if self.reader and self.reader not in READERS:
            raise InputError(f"dataset {self.reader!r} is none of {', '.join(READERS)}")


@dataclass(frozen=True)
class ReadingOptions:
    """unlabelled: read the parts of a data set that carry no label too, into train. split: of samples whose source
    states none. valid_share: of a source without a valid part, the share of train to become it, by the ids' hashes."""

    unlabelled: bool = False
    split: Literal["train", "valid", "test"] = "train"
    valid_share: float = 0.0


@dataclass(frozen=True)
class MixOptions:
    """Other sets to train on beside `data`. data: directories of records. weights: shares of the clips, `data`'s own
    first; () for shares in proportion to size."""

    data: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != 1 + len(self.data):
            raise InputError(
                f"mix.weights: {len(self.weights)} weights for {1 + len(self.data)} sets; the first is "
                "that of config.data itself"
            )


@dataclass(frozen=True)
class Puppets:
    """The embedded world's sizes; the rest as data.puppets.PuppetOptions has it."""

    num_train: int = 1024
    num_valid: int = 128
    num_test: int = 256
    sarcasm: float = 0.3
    noise: float = 0.06
    fooled: float = 0.9
    teacher_error: float = 0.08
    trace_share: float = 0.12


@dataclass(frozen=True)
class LabelOptions:
    """neutral_eps: scores within it of 0 are Neutral."""

    neutral_eps: float = 0.0

    def __post_init__(self) -> None:
        _at_least(self, 0, "neutral_eps")


def _at_least(options, lowest: int, *names: str) -> None:
    for name in names:
        if getattr(options, name) < lowest:
            raise InputError(f"{name} must be at least {lowest}, not {getattr(options, name)}")


def _divides(whole: int, parts: int, name: str) -> None:
    if parts and whole % parts:
        raise InputError(f"{name} {whole} must be a multiple of micro_batches {parts}")


@dataclass(frozen=True)
class SftOptions:
    """The cold start.

    trainable: "lora" over the given policy, or "all" for one without a pretrained base.
    epochs: passes over the kept traces at most. max_steps: updates at most, in place of epochs (0: epochs count).
    micro_batches: parts that an update takes in turn; 0: as few as fit the devices by arithmetic (jobs/memory.py).
    eval_every: updates between evaluations on the validation split, at most eval_clips of it.
    patience: evaluations without a rise of the validation reward after which it stops, keeping the best.
    balance: repeat the clips of rarer polarities in each pass until all are equally frequent. max_per_class: learn from
    at most so many traces of each class (0: all); which ones hangs on the seed and their ids alone.
    targets: "traces", or "labels" for formats without reasoning: every labelled clip, and no traces.
    """

    trainable: Literal["lora", "all"] = "lora"
    targets: Literal["traces", "labels"] = "traces"
    epochs: float = 3.0
    max_steps: int = 0
    batch_size: int = 32
    micro_batches: int = 1
    eval_every: int = 50
    eval_clips: int = 128
    patience: int = 3
    save_every: int = 50
    balance: bool = False
    max_per_class: int = 0
    remat: Literal["none", "dots", "full"] = "full"
    optimizer: OptimizerOptions = OptimizerOptions(1e-5, warmup_fraction=0.03, weight_decay=0.01, b2=0.95)

    def __post_init__(self) -> None:
        _at_least(self, 0, "epochs", "max_steps", "max_per_class", "micro_batches")
        _at_least(self, 1, "batch_size", "eval_every", "eval_clips", "patience", "save_every")
        if not self.epochs and not self.max_steps:
            raise InputError("set epochs or max_steps: the schedule needs an end")
        _divides(self.batch_size, self.micro_batches, "batch_size")


@dataclass(frozen=True)
class GrpoOptions:
    """Hint-GRPO.

    group_size: G, answers to a prompt. prompts_per_step: N. num_iterations: updates on each rollout.
    epochs, max_steps, micro_batches, balance: as in the cold start. samples: prompts of each step whose answers are
    written out.
    remat: what the backward pass computes again: "none", "dots" (all but products), "full", or "auto", the first of
    these that fits the device.
    answer_rows: rows that the answers of a group are packed into for reference and update, as many as one of these
    that suffices; () for a row each. Saves time where answers are much shorter than the longest may be.
    """

    group_size: int = 4
    prompts_per_step: int = 64
    num_iterations: int = 1
    epochs: float = 1.0
    max_steps: int = 0
    micro_batches: int = 1
    save_every: int = 10
    samples: int = 2
    balance: bool = False
    answer_rows: tuple[int, ...] = ()
    remat: Literal["auto", "none", "dots", "full"] = "auto"
    optimizer: OptimizerOptions = OptimizerOptions(1e-5, warmup_fraction=0.03, weight_decay=0.01, b2=0.95)

    def __post_init__(self) -> None:
        _at_least(self, 0, "epochs", "max_steps", "samples", "micro_batches")
        if not all(1 <= rows <= self.group_size for rows in self.answer_rows):
            raise InputError(f"answer_rows must be between 1 and group_size {self.group_size}, not {self.answer_rows}")
        _at_least(self, 1, "prompts_per_step", "num_iterations", "save_every")
        if self.group_size < 2:
            raise InputError(f"group_size must be at least 2, not {self.group_size}: an advantage needs others")
        if not self.epochs and not self.max_steps:
            raise InputError("set epochs or max_steps: the schedule needs an end")
        _divides(self.prompts_per_step, self.micro_batches, "prompts_per_step")

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """The row counts that are compiled, rising; the last holds any answers."""
        return tuple(sorted({*self.answer_rows, self.group_size}))


@dataclass(frozen=True)
class EvaluateOptions:
    """split: which clips. batch_size: clips at a time. max_clips: at most so many (0: all). samples: sampled answers
    a clip for the mean reward, beside the greedy one (0: none). decode: what the metrics use: the greedy answer, the
    majority of the sampled ones, or their mean. resamples: of the bootstrap (0: no intervals).
    answers: a directory to keep answers in, which runs may share (default: the run's own)."""

    split: Literal["train", "valid", "test"] = "test"
    batch_size: int = 64
    max_clips: int = 0
    samples: int = 4
    decode: Literal["greedy", "majority", "mean"] = "greedy"
    fallback: Literal["neutral", "drop", "worst"] = "neutral"
    resamples: int = 500
    answers: str = ""

    def __post_init__(self) -> None:
        _at_least(self, 1, "batch_size")
        _at_least(self, 0, "max_clips", "samples", "resamples")
        if self.decode != "greedy" and not self.samples:
            raise InputError(f"decode={self.decode} needs samples; set how many")


@dataclass(frozen=True)
class ExportOptions:
    """merged: one Hugging Face directory with the adapter added in. adapter: the base and a PEFT adapter beside it."""

    merged: bool = True
    adapter: bool = True
    shard_bytes: int = 5 * 10**9

    def __post_init__(self) -> None:
        _at_least(self, 1, "shard_bytes")


@dataclass(frozen=True)
class Config:
    """A run. policy: a checkpoint directory or "tiny". adapter: a PEFT directory to start from. traces: a teacher's
    traces, a jsonl or what `distill` recorded (default: traces.jsonl beside the data). cross: a second domain, for
    evaluation alone.

    format: of the answers; concepts: the classes and concepts of those that name a class ("concepts", "class_only").

    dataset: how the data are read, as Dataset.reader. source, out: raw data and the directory of records to make of
    them, for configs/prepare.py outside a run. view: modalities that are left out at random while learning; what is
    never to be shown is switched off in `prompt`. attention: the decoder's kernel. predictions: a csv of id and pred
    to score in place of a policy, for configs/evaluate.py.
    profile: GRPO steps to trace for xprof. mesh: how devices share the work."""

    stages: tuple[str, ...] = STAGES
    policy: str = "tiny"
    adapter: str = ""
    data: str = "puppets:en"
    dataset: str = ""
    source: str = ""
    out: str = ""
    read: ReadingOptions = ReadingOptions()
    mix: MixOptions = MixOptions()
    view: ViewOptions = ViewOptions()
    score_range: tuple[float, ...] = ()
    language: str = ""
    traces: str = ""
    predictions: str = ""
    cross: Dataset = Dataset()
    format: Literal["dc", "think_first", "label_only", "concepts", "class_only"] = "dc"
    concepts: ConceptOptions = ConceptOptions()
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Kernel = "auto"
    seed: int = 0
    profile: int = 0
    mesh: MeshOptions = MeshOptions()
    puppets: Puppets = Puppets()
    prepare: PrepareOptions = PrepareOptions()
    prompt: PromptOptions = PromptOptions()
    labels: LabelOptions = LabelOptions()
    lora: LoraOptions = LoraOptions()
    sampling: SamplingOptions = SamplingOptions()
    reward: RewardOptions = field(default_factory=RewardOptions)
    hint: HintOptions = HintOptions()
    adv: AdvOptions = AdvOptions()
    loss: LossOptions = LossOptions()
    sft: SftOptions = SftOptions()
    grpo: GrpoOptions = GrpoOptions()
    evaluate: EvaluateOptions = EvaluateOptions()
    export: ExportOptions = ExportOptions()

    def __post_init__(self) -> None:
        for stage in self.stages:
            if stage not in STAGES:
                raise InputError(f"stages: {stage!r} is none of {', '.join(STAGES)}")
        if "grpo" in self.stages:
            self.hint.check(self.grpo.group_size, self.loss.beta)
            self._check_hints()
            if self.sampling.greedy:
                raise InputError("sampling.greedy: all answers of a group would be the same; grpo needs them to differ")
        _at_least(self, 0, "profile")
        if self.sft.targets == "labels" and self.format not in ("label_only", "class_only"):
            raise InputError(
                f"sft.targets: labels alone hold no reasoning for format={self.format}; use "
                "format=label_only or class_only, or traces"
            )
        if self.grpo.answer_rows and self.attention not in ("auto", "plain"):
            raise InputError(f"grpo.answer_rows: attention={self.attention} knows no packed rows; use attention=plain")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed must be at least 0 and below 2**31, not {self.seed}")
        if bool(self.source) != bool(self.out):
            raise InputError("source and out go together: raw data, and the directory of records to make of them")
        if self.out and self.stages != ("prepare",):
            raise InputError("out: only configs/prepare.py makes a directory of records; name one as data")
        if self.mix.data and (self.sft.balance or self.grpo.balance):
            raise InputError("mix.data: a mixture cannot be balanced too; choose mix.weights instead")
        self.train_set  # noqa: B018 (looks at its fields)

    def _check_hints(self) -> None:
        """What would else be noticed only after the cold start."""
        hint = self.hint
        TriggerOptions(hint.metric, hint.threshold, hint.trigger_fraction, hint.truncated_as_fail)
        parts = (
            "total",
            *PARTS,
            *(["consistency"] if self.reward.consistency == "penalty" else []),
            *(spec.rpartition(":")[2] for spec in self.reward.plugins),
        )
        if hint.metric not in parts:
            raise InputError(f"hint.metric: {hint.metric!r} is none of {', '.join(parts)}")
        levels = FORMATS[self.format].levels
        if not levels and (hint.mode == "hint" or hint.polarity_nll):
            raise InputError(
                f"format: {self.format} answers have nothing to hint at; use hint.mode=off and no hint.polarity_nll"
            )
        if hint.mode == "hint" and hint.levels[0] not in levels:
            raise InputError(
                f"hint.levels: answers of format={self.format} know {', '.join(levels)}, not {hint.levels[0]!r}"
            )
        if self.format in CLASS_FORMATS:
            self._check_class_hints()

    def _check_class_hints(self) -> None:
        hint = self.hint
        if hint.template is not None or hint.polarity_nll:
            raise InputError(
                "hint.template and hint.polarity_nll are for answers that begin with their polarity; "
                f"format={self.format} does not"
            )
        if self.reward.class_balance != "off" and (hint.metric, hint.threshold) == ("total", "auto"):
            raise InputError("hint.threshold: 'auto' cannot tell with reward.class_balance; use hint.metric=accuracy")

    @property
    def train_set(self) -> Dataset:
        """The data set that is trained on, or prepared."""
        return Dataset(self.source or self.data, self.score_range, self.language, reader=self.dataset)
