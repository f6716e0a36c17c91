"""The options of the jobs that need no run, and which job has which. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.answers.answer_options import ConceptOptions, LabelOptions
from emsa_jax.config.fields import Options, option
from emsa_jax.cues.cues_options import CuesOptions
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.errors import InputError
from emsa_jax.experiments.arms import MANY, TABLES, Arm
from emsa_jax.features.feature_options import FeatureOptions
from emsa_jax.learning.learning_options import LossOptions
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.policy.policy_options import Kernel, LoraOptions
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions, SamplingOptions
from emsa_jax.serving.serving_options import AskOptions, ServeOptions
from emsa_jax.settings.config import Config
from emsa_jax.training.bridge_options import BridgesOptions
from emsa_jax.training.training_options import GrpoOptions

JOB = "which job this is"


@dataclass(frozen=True)
class AnnotateOptions(Options):
    """Votes of several people become labels, agreement and a split."""

    job: str = option("annotate", JOB)
    votes: str = option(
        "",
        "a csv with the columns item, annotator, field and value; field: sentiment with value -1, 0 or 1, or a concept "
        "with one of its labels",
    )
    out: str = option("", "a directory for labels.csv, again.csv and agreement.json")
    majority: int = option(3, "votes that a concept's label needs", low=1, source="CH-CEMS, section 3.2")
    merge: str = option("", "a JSON file, field -> label -> the label it counts as; empty: none")
    clips: str = option(
        "",
        "a csv of the items' other columns, found by item, by id, or by video_id and clip_id, which out/label.csv "
        "joins with the labels; empty: none",
    )
    split: Literal["stratified", "speakers"] = option(
        "stratified",
        "stratified on the five classes, or speakers, which also keeps each speaker on one side",
        source="CH-CEMS, section 3.3: stratified",
    )
    seed: int = option(0, "of the split and of the intervals", low=0, high=2**31 - 1)
    resamples: int = option(2000, "resamples of the bootstrap of the agreement", low=1, high=10**6)
    confidence: float = option(0.95, "of the intervals of the agreement", above=0, below=1)
    concepts: ConceptOptions = ConceptOptions()


@dataclass(frozen=True)
class AssembleOptions(Options):
    """Pretrained parts become one policy directory."""

    job: Literal["assemble"] = option("assemble", JOB)
    text: str = option("", "a directory of a text model of the kind Qwen2, Llama (SmolLM2) or Qwen3, or of a policy")
    audio: str = option("", "a directory of Whisper, whose encoder is taken, or of a policy; empty: no audio tower")
    vision: str = option(
        "",
        "a directory of CLIP, Qwen2.5-VL or a policy; empty: a small random tower where the layout of Qwen2.5-Omni's "
        "Thinker asks for one",
    )
    vision_tokens: Literal["cls", "patches"] = option(
        "cls",
        "what of a frame CLIP gives to the text model: cls, its class token alone, or patches, the token of each patch",
    )
    audio_bridge: str = option(
        "",
        "AECB behind the audio tower (XEmoGPT): a directory that configs/bridges.py:aecb wrote, a published "
        "checkpoint, or fresh, drawn at random; empty: none",
    )
    vision_bridge: str = option("", "VECB behind CLIP's class tokens, in the same way")
    out: str = option("", "the policy directory to write")
    dtype: Literal["float32", "bfloat16"] = option("float32", "in which weights are written")
    n_window: int = option(
        0,
        "half the mel frames, 10 ms each, of a chunk inside which the audio tower attends; 0: 500 for Whisper, where "
        "chunks of 10 s change its states little, the policy's own for another tower",
        low=0,
    )
    media_tokens: Literal["auto", "reuse", "add"] = option(
        "auto",
        "where a tokenizer has no media tokens: reuse, unused special tokens become them; add, new tokens in rows that "
        "no token has, or in new rows; auto: what costs no new row",
    )
    chat_template: str = option(
        "", "a file with a chat template that takes media; empty: the text model's, made to take them, or ChatML"
    )
    seed: int = option(0, "of what is drawn at random: projections, a vision tower", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class BenchmarkOptions(Options):
    """The tables and figures of CH-CEMS."""

    job: str = option("benchmark", JOB)
    runs: tuple[str, ...] = option(
        (),
        "predictions.jsonl files that an evaluation left, or their directories, each as MODEL=PATH; paths of one model "
        "are its seeds",
    )
    out: str = option("", "a directory for tables.md, tables.csv and the figures")


@dataclass(frozen=True)
class CompareOptions(Options):
    """Two or more runs on one page."""

    job: Literal["compare"] = option("compare", JOB)
    runs: tuple[str, ...] = option(
        (),
        "workdirs, or RUN/evaluate/NAME for one policy or one scored csv of a run; the baseline comes first",
    )
    out: str = option("compare.html", "the page to write; tables as md, csv and tex, and curves, are written beside it")
    resamples: int = option(500, "resamples of the paired tests; 0: no tests", low=0, high=10**6)


@dataclass(frozen=True)
class DoctorOptions(Options):
    """Is this machine ready for a run?"""

    job: Literal["doctor"] = option("doctor", JOB)
    place: str = option("runs", "where runs are to lie: its disk is looked at")
    policy: str = option("", "a policy directory, which must be sound and fit into memory; empty: none is looked at")
    dtype: Literal["float32", "bfloat16"] = option("bfloat16", "of the policy's weights and of activations")
    prompt: PromptShape = PromptShape()
    max_completion_length: int = option(512, "tokens of an answer", unit="tokens", low=1, high=10**6)
    group_size: int = option(4, "answers to a prompt of GRPO", low=2, high=1024)
    step: bool = option(True, "make one step of GRPO with a tiny policy")
    base_url: str = option("", "an endpoint that must answer, up to /v1; empty: none")
    key_env: str = option("OPENAI_API_KEY", "the environment variable that holds the endpoint's key")
    json: bool = option(False, "print the findings as one line of JSON")


@dataclass(frozen=True)
class FaithfulOptions(Options):
    """Does an answer hang on its explanation, and the explanation on the clip?"""

    job: Literal["faithful"] = option("faithful", JOB)
    policy: str = option("", "a policy directory, such as runs/mine/export/merged")
    adapter: str = option("", "a PEFT directory over it; empty: none")
    data: str = option("", "a directory of records, such as runs/mine/records/train")
    out: str = option("", "a directory for card.json and card.md; empty: faithful, beside the policy")
    split: Literal["train", "valid", "test"] = option("test", "the split that is asked about")
    max_clips: int = option(256, "at most so many clips; 0: all", low=0)
    batch_size: int = option(64, "clips at a time", low=1)
    max_completion_length: int = option(512, "most tokens of an answer", unit="tokens", low=1)
    resamples: int = option(500, "resamples of the bootstrap; 0: no intervals", low=0, high=10**6)
    format: str = option("dc", "the form of the answers, one that names a score after its reasoning")
    dtype: Literal["float32", "bfloat16"] = option("float32", "of the weights and of activations")
    prompt: PromptOptions = PromptOptions()
    labels: LabelOptions = LabelOptions()
    mesh: MeshOptions = MeshOptions()
    concepts: ConceptOptions = ConceptOptions()


@dataclass(frozen=True)
class InspectOptions(Options):
    """What a directory of records holds."""

    job: Literal["inspect"] = option("inspect", JOB)
    data: str = option("", "a directory of records")
    out: str = option("", "the page to write; empty: DATA.html beside the directory")
    clips: int = option(24, "samples on the page", low=0)
    dataset: str = option("", "whose official numbers to compare with, where the records do not say")


@dataclass(frozen=True)
class ReviewOptions(Options):
    """People look at the traces that distill recorded."""

    job: Literal["review"] = option("review", JOB)
    data: str = option("", "the records of the clips")
    traces: str = option("", "the directory of what distill recorded")
    split: Literal["train", "valid", "test"] = option("train", "the split of the clips")
    show: Literal["kept", "aside", "all"] = option("kept", "traces that were kept, samples that were set aside, or all")
    port: int = option(0, "port of the page; 0: any that is free", low=0, high=2**16 - 1)
    csv_out: str = option("", "write the traces to this file in place of serving a page")
    csv_in: str = option("", "take over the decisions of such a file in place of serving a page")
    by: str = option("", "whose decisions csv_in holds, where the file has no name")
    concepts: ConceptOptions = ConceptOptions()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.csv_out and self.csv_in:
            raise InputError("csv_out and csv_in are two commands: first out, then in")
        if self.csv_in and not self.by.strip():
            raise InputError("by: say whose decisions these are, such as --config.by=ada")


@dataclass(frozen=True)
class PlanOptions(Options):
    """Whether a GRPO run would fit, and how fast it might be, on devices that are not here."""

    job: Literal["plan"] = option("plan", JOB)
    policy: str = option("qwen2_5_omni_7b", "qwen2_5_omni_7b, qwen2_5_omni_3b, or a directory with a config.json")
    topology: str = option("v5e:4x4", "the devices, as v5e:4x4, v5p:2x2x1 or h100:8", source="docs/scaling.md")
    compile: Literal["phases", "decode", "all", "no"] = option(
        "phases",
        "what is compiled: the programs of the four phases, decoding alone, all of a step, or nothing; the memory of "
        "what is not compiled is by arithmetic",
    )
    prompt: PromptShape = PromptShape()
    dtype: Literal["float32", "bfloat16"] = option("bfloat16", "of the frozen weights and of activations")
    attention: Kernel = option("auto", "the decoder's attention kernel; auto: what suits the device")
    mesh: MeshOptions = MeshOptions()
    lora: LoraOptions = LoraOptions()
    sampling: SamplingOptions = SamplingOptions()
    hint: HintOptions = HintOptions()
    loss: LossOptions = LossOptions(kind="seq_sum", beta=0.1)
    grpo: GrpoOptions = GrpoOptions(group_size=8, micro_batches=0, remat="full")


@dataclass(frozen=True)
class AblationOptions(Options):
    """Tables of the papers, cell by cell."""

    job: Literal["ablation"] = option("ablation", JOB)
    tables: tuple[str, ...] = option(("hint",), f"tables to make, in this order, of {', '.join(TABLES)}")
    seeds: int = option(3, "seeds of each arm", low=1)
    hint_seeds: int = option(8, "seeds of the hint arms, the first ones the same", low=1)
    minutes: float = option(
        0.0, "no cell is begun later than this; the same command goes on; 0: no limit", unit="min", low=0
    )
    cross_traces: str = option(
        "", "a teacher's traces of the second domain, for cross_domain; empty: traces.jsonl beside it"
    )
    base: Config = Config()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.tables:
            if name not in TABLES:
                raise InputError(f"tables: {name!r} is none of {', '.join(TABLES)}")

    def seeds_of(self, arm: Arm) -> int:
        """How many seeds an arm is to have."""
        return max(self.seeds, self.hint_seeds) if arm.name in MANY else self.seeds


# configs/NAME.py makes these options, and emsa_jax/jobs/NAME.py has the function NAME that takes them
JOBS = {
    "ablation": AblationOptions,
    "annotate": AnnotateOptions,
    "ask": AskOptions,
    "assemble": AssembleOptions,
    "benchmark": BenchmarkOptions,
    "bridges": BridgesOptions,
    "compare": CompareOptions,
    "cues": CuesOptions,
    "distill": DistillOptions,
    "doctor": DoctorOptions,
    "faithful": FaithfulOptions,
    "features": FeatureOptions,
    "inspect": InspectOptions,
    "plan": PlanOptions,
    "review": ReviewOptions,
    "serve": ServeOptions,
}
RESUMED = ("ablation", "bridges", "features")  # which can go on, and so keep a directory, --workdir
