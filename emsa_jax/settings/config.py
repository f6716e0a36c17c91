"""A run's Config: the options of the rooms put together; `configs/*.py` choose among them. Imports no jax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from emsa_jax.answers.answer_options import ConceptOptions, LabelOptions
from emsa_jax.answers.formats import FORMATS, format_class
from emsa_jax.config.edge import pick
from emsa_jax.config.fields import option, refuse_repeated
from emsa_jax.data.data_options import MODALITIES, MixOptions, PrepareOptions, PuppetOptions, ReadingOptions
from emsa_jax.data.dataset_options import SOURCES, CrossDataset, Dataset
from emsa_jax.errors import InputError
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.learning.learning_options import AdvOptions, GuardOptions, LossOptions
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.policy.policy_options import Kernel, LoraOptions
from emsa_jax.rewards.parts import CONSISTENCY, PARTS
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import EncodingOptions, HintOptions, PromptOptions, SamplingOptions
from emsa_jax.training.training_options import AlignOptions, GrpoOptions, SftOptions

STAGES = ("prepare", "align", "sft", "grpo", "evaluate", "export", "report")


@dataclass(frozen=True)
class Config(Dataset):
    """A run. Its own `data`, `dataset`, `score_range` and `language` are those of the training set."""

    data: str = option(
        "puppets:en",
        f"the training set: {SOURCES}",
    )
    stages: tuple[str, ...] = option(
        tuple(stage for stage in STAGES if stage != "align"),
        f"what is done, in this order, of {', '.join(STAGES)}",
        affects_results=False,
    )
    policy: str = option(
        "tiny",
        "a checkpoint directory in the form of Hugging Face; or tiny, the embedded policy; or tiny_xemogpt, the same "
        "with the parts of XEmoGPT",
    )
    adapter: str = option("", "a PEFT directory to start from; empty: none")
    traces: str = option(
        "", "a teacher's traces: a jsonl, or what distill recorded; empty: traces.jsonl beside the data"
    )
    out: str = option("", "a directory of records to make of config.data outside of a run, for configs/prepare.py")
    predictions: str = option("", "a csv of id and pred to score in place of a policy, for configs/evaluate.py")
    format: str = option(
        "dc",
        "the form of the answers: dc, polarity, reasoning and score; think_first, reasoning before the polarity; "
        "label_only, the score alone; concepts, reasoning with concept tags and a class; class_only, the class alone; "
        "describe, cues that are seen and heard, and a class",
        source="MSA-Thinker, section III.A: dc; CH-CEMS, section 4.2: concepts; XEmoGPT, figure 1: describe",
    )
    dtype: Literal["float32", "bfloat16"] = option("float32", "of the frozen weights and of activations")
    attention: Kernel = option(
        "auto",
        "the decoder's attention kernel; auto: what suits the device",
        affects_results=False,
    )
    seed: int = option(0, "every random number of the run follows from it", low=0, high=2**31 - 1)
    profile: int = option(0, "GRPO steps to trace for xprof", low=0, affects_results=False)
    modality_dropout: dict[str, float] = option(
        dict.fromkeys(MODALITIES, 0.0),
        "how often each modality of a clip is left out at random while learning, as "
        "--config.modality_dropout.text=0.3; a clip never loses its last one",
        low=0,
        high=1,
        experimental=True,
    )
    balance: bool = option(
        False,
        "repeat the clips of rarer polarities in each pass of the cold start and of GRPO until all are equally "
        "frequent",
    )
    export: tuple[Literal["merged", "adapter", "bridges"], ...] = option(
        ("merged", "adapter"),
        "what is exported: merged, one directory with the adapter added in; adapter, the base and a PEFT adapter "
        "beside it; bridges, those of a policy that has them, with their projections, under XEmoGPT's published names",
    )
    strict: bool = option(
        False,
        "a warning of guard, such as a stage that learned nothing, ends the run with code 2",
        affects_results=False,
    )
    read: ReadingOptions = ReadingOptions()
    mix: MixOptions = MixOptions()
    cross: CrossDataset = CrossDataset()
    concepts: ConceptOptions = ConceptOptions()
    mesh: MeshOptions = MeshOptions()
    puppets: PuppetOptions = PuppetOptions()
    prepare: PrepareOptions = PrepareOptions()
    prompt: PromptOptions = PromptOptions()
    labels: LabelOptions = LabelOptions()
    lora: LoraOptions = LoraOptions()
    encodings: EncodingOptions = EncodingOptions()
    sampling: SamplingOptions = SamplingOptions()
    reward: RewardOptions = field(default_factory=RewardOptions)
    hint: HintOptions = HintOptions()
    adv: AdvOptions = AdvOptions()
    loss: LossOptions = LossOptions()
    guard: GuardOptions = GuardOptions()
    align: AlignOptions = AlignOptions()
    sft: SftOptions = SftOptions()
    grpo: GrpoOptions = GrpoOptions()
    evaluate: EvaluateOptions = EvaluateOptions()

    def __post_init__(self) -> None:
        super().__post_init__()
        for stage in self.stages:
            if stage not in STAGES:
                raise InputError(f"stages: {stage!r} is none of {', '.join(STAGES)}")
        refuse_repeated("stages", self.stages)
        if not self.stages:
            raise InputError(f"stages: there is nothing to do; name some of {', '.join(STAGES)}")
        if "export" in self.stages and not self.export:
            raise InputError(
                "export: nothing would be exported; name merged, adapter or both, or leave export out of stages"
            )
        if all(self.modality_dropout.get(name, 0.0) == 1 for name in self.prompt.modalities):
            raise InputError(
                "modality_dropout: every modality that prompts have would always be left out; lower one below 1"
            )
        format = format_class(self.format)
        for name, way in {"evaluate.decode": self.evaluate.decode, "reward.score": self.reward.score}.items():
            if way == "expected" and "score" not in format.parts:
                raise InputError(f"{name}=expected: answers of format={self.format} name no score; choose another")
        if "grpo" in self.stages:
            self.hint.check(self.grpo.group_size, self.loss.beta)
            self._check_hints()
            if self.sampling.greedy:
                raise InputError(
                    "sampling.temperature=0: all answers of a group would be the same; grpo needs them to differ"
                )
        if self.sft.targets == "labels" and format.has_reasoning:
            bare = [name for name, other in FORMATS.items() if not other.has_reasoning]
            raise InputError(
                f"sft.targets: labels alone hold no reasoning for format={self.format}; use "
                f"format={' or '.join(bare)}, or traces"
            )
        if self.sft.targets == "cues" and "cue_f1" not in format.parts:
            raise InputError(f"sft.targets=cues: answers of format={self.format} describe no cues; use format=describe")
        for way, modality in (("visual", "video"), ("audio", "audio")):
            if way in self.sft.asks and modality not in self.prompt.modalities:
                raise InputError(f"sft.asks: {way} needs {modality} among prompt.modalities; leave one of them out")
        if self.grpo.answer_rows and self.attention not in ("auto", "plain"):
            raise InputError(f"grpo.answer_rows: attention={self.attention} knows no packed rows; use attention=plain")
        if "align" in self.stages and self.adapter:
            raise InputError(
                "adapter: the stage align changes the policy that it was trained over; leave one of them out"
            )
        if self.out and (not self.data or self.data.startswith("puppets:")):
            raise InputError("out: name raw data of your own as config.data; the embedded world is made within a run")
        if self.out and self.stages != ("prepare",):
            raise InputError("out: only configs/prepare.py makes a directory of records; name one as data")
        if self.mix.data and self.balance:
            raise InputError("mix.data: a mixture cannot be balanced too; choose mix.weights instead")
        if unknown := self.modality_dropout.keys() - set(MODALITIES):
            raise InputError(f"modality_dropout.{min(unknown)}: there are {', '.join(MODALITIES)}")

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
        if hint.mode == "hint" and hint.levels not in levels:
            raise InputError(
                f"hint.levels: answers of format={self.format} know {', '.join(levels)}, not {hint.levels!r}"
            )
        if levels and not format.label_first and hint.polarity_nll:
            raise InputError(
                f"hint.polarity_nll is for answers that begin with their polarity; format={self.format} does not"
            )
        balanced = "accuracy" in format.parts and self.reward.class_balance != "off"
        if balanced and (hint.metric, hint.threshold) == ("total", "auto"):
            raise InputError("hint.threshold: 'auto' cannot tell with reward.class_balance; use hint.metric=accuracy")

    @property
    def train_set(self) -> Dataset:
        """The data set that is trained on, or prepared."""
        return pick(Dataset, self)
