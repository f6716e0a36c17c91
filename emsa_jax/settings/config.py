"""Everything that can be set, as frozen dataclasses with their defaults; `configs/*.py` choose among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from emsa_jax.answers.answer_options import ConceptOptions, LabelOptions
from emsa_jax.answers.formats import FORMATS, format_class
from emsa_jax.data.data_options import Dataset, MixOptions, PrepareOptions, Puppets, ReadingOptions, ViewOptions
from emsa_jax.errors import InputError
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.learning.learning_options import AdvOptions, LossOptions
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.policy.policy_options import ExportOptions, Kernel, LoraOptions
from emsa_jax.rewards.parts import CONSISTENCY, PARTS
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions, SamplingOptions
from emsa_jax.training.training_options import GrpoOptions, SftOptions

STAGES = ("prepare", "sft", "grpo", "evaluate", "export", "report")


@dataclass(frozen=True)
class Config:
    """A run. policy: a checkpoint directory or "tiny". adapter: a PEFT directory to start from. traces: a teacher's
    traces, a jsonl or what `distill` recorded (default: traces.jsonl beside the data). cross: a second domain, for
    evaluation alone.

    format: of the answers, a name of answers.formats; concepts: the classes and concepts of formats that name a class.

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
    format: str = "dc"
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
        format = format_class(self.format)
        if "grpo" in self.stages:
            self.hint.check(self.grpo.group_size, self.loss.beta)
            self._check_hints()
            if self.sampling.greedy:
                raise InputError("sampling.greedy: all answers of a group would be the same; grpo needs them to differ")
        if self.profile < 0:
            raise InputError(f"profile must be at least 0, not {self.profile}")
        if self.sft.targets == "labels" and format.has_reasoning:
            bare = [name for name, other in FORMATS.items() if not other.has_reasoning]
            raise InputError(
                f"sft.targets: labels alone hold no reasoning for format={self.format}; use "
                f"format={' or '.join(bare)}, or traces"
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
        parts = (
            "total",
            *PARTS,
            *([CONSISTENCY] if self.reward.consistency == "penalty" else []),
            *(spec.rpartition(":")[2] for spec in self.reward.plugins),
        )
        if hint.metric not in parts:
            raise InputError(f"hint.metric: {hint.metric!r} is none of {', '.join(parts)}")
        format = format_class(self.format)
        levels = format.levels
        if not levels and (hint.mode == "hint" or hint.polarity_nll):
            raise InputError(
                f"format: {self.format} answers have nothing to hint at; use hint.mode=off and no hint.polarity_nll"
            )
        if hint.mode == "hint" and hint.levels[0] not in levels:
            raise InputError(
                f"hint.levels: answers of format={self.format} know {', '.join(levels)}, not {hint.levels[0]!r}"
            )
        if levels and not format.label_first and (hint.template is not None or hint.polarity_nll):
            raise InputError(
                "hint.template and hint.polarity_nll are for answers that begin with their polarity; "
                f"format={self.format} does not"
            )
        balanced = "accuracy" in format.parts and self.reward.class_balance != "off"
        if balanced and (hint.metric, hint.threshold) == ("total", "auto"):
            raise InputError("hint.threshold: 'auto' cannot tell with reward.class_balance; use hint.metric=accuracy")

    @property
    def train_set(self) -> Dataset:
        """The data set that is trained on, or prepared."""
        return Dataset(self.source or self.data, self.score_range, self.language, reader=self.dataset)
