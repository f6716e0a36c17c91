"""The options of the jobs that need no run, but for those of distill. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.errors import InputError
from emsa_jax.experiments.arms import MANY, TABLES, Arm
from emsa_jax.learning.learning_options import LossOptions
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.policy.policy_options import Kernel, LoraOptions
from emsa_jax.rollout.rollout_options import HintOptions, SamplingOptions
from emsa_jax.settings.config import Config
from emsa_jax.training.training_options import GrpoOptions


@dataclass(frozen=True)
class AnnotateOptions:
    """votes: a csv with the columns item, annotator, field, value (field: sentiment with value -1, 0 or 1, or a concept
    with one of its labels). out: a directory for labels.csv, again.csv and agreement.json.

    majority: votes that a concept's label needs. merge: a JSON file, field -> label -> the label it counts as.
    clips: a csv of the items' other columns, found by `item`, by `id`, or by video_id and clip_id; out/label.csv then
    joins it with the labels, as the reader `ch_cems` or `plain` wants it. concepts: whose table says how labels are
    spelled.
    split: "stratified" on the five classes, or "speakers", which also keeps each speaker (clips' column `speaker`)
    on one side. seed: of split and intervals. resamples, confidence: of the intervals.
    """

    job: str = "annotate"
    votes: str = ""
    out: str = ""
    majority: int = 3
    merge: str = ""
    clips: str = ""
    split: Literal["stratified", "speakers"] = "stratified"
    seed: int = 0
    resamples: int = 2000
    confidence: float = 0.95
    concepts: ConceptOptions = ConceptOptions()

    def __post_init__(self) -> None:
        for name in ("majority", "resamples"):
            if getattr(self, name) < 1:
                raise InputError(f"config.{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence must be between 0 and 1, not {self.confidence}")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed must be at least 0 and below 2**31, not {self.seed}")


@dataclass(frozen=True)
class BenchmarkOptions:
    """runs: predictions.jsonl files that an evaluation left, or their directories, each as "MODEL=PATH"; paths of one
    model are its seeds (the paper has 0 to 4). out: a directory for tables.md, tables.csv, figure7_3.svg, ..."""

    job: str = "benchmark"
    runs: tuple[str, ...] = ()
    out: str = ""


@dataclass(frozen=True)
class CompareOptions:
    """runs: workdirs, or RUN/evaluate/NAME for one policy or one scored csv of a run; the baseline first. out: the
    page to write. resamples: of the paired tests (0: none)."""

    job: Literal["compare"] = "compare"
    runs: tuple[str, ...] = ()
    out: str = "compare.html"
    resamples: int = 500

    def __post_init__(self) -> None:
        if self.resamples < 0:
            raise InputError(f"resamples must be at least 0, not {self.resamples}")


@dataclass(frozen=True)
class InspectOptions:
    """data: a directory of records. out: the page to write (default: `<data>.html`, beside the directory).
    clips: samples on the page. dataset: whose official numbers to compare with, where the records do not say."""

    job: Literal["inspect"] = "inspect"
    data: str = ""
    out: str = ""
    clips: int = 24
    dataset: str = ""

    def __post_init__(self) -> None:
        if self.clips < 0:
            raise InputError(f"clips must be at least 0, not {self.clips}")


@dataclass(frozen=True)
class ReviewOptions:
    """data, split: the clips. traces: what `distill` recorded. show: traces that were kept, samples that were kept
    aside, or all. port: of the page (0: any that is free). csv_out: write the traces to this file instead; csv_in: take
    the decisions of such a file over instead. by: whose they are, where the file has no name. concepts: as distill had
    them."""

    job: Literal["review"] = "review"
    data: str = ""
    traces: str = ""
    split: Literal["train", "valid", "test"] = "train"
    show: Literal["kept", "aside", "all"] = "kept"
    port: int = 0
    csv_out: str = ""
    csv_in: str = ""
    by: str = ""
    concepts: ConceptOptions = ConceptOptions()

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise InputError(f"port must be at least 0 and below 65536, not {self.port}")
        if self.csv_out and self.csv_in:
            raise InputError("csv_out and csv_in are two commands: first out, then in")
        if self.csv_in and not self.by.strip():
            raise InputError("by: say whose decisions these are, such as --config.by=ada")


@dataclass(frozen=True)
class PlanOptions:
    """policy: qwen2_5_omni_7b, qwen2_5_omni_3b, or a directory with a config.json. topology: as v5e:4x4, v5p:2x2x1 or
    h100:8. compile: all programs of a step ("all"), those of the four phases ("phases"), decoding alone ("decode"), or
    none ("no"): memory of what is not compiled is by arithmetic. The rest as in a run."""

    job: Literal["plan"] = "plan"
    policy: str = "qwen2_5_omni_7b"
    topology: str = "v5e:4x4"
    compile: Literal["phases", "decode", "all", "no"] = "phases"
    prompt: PromptShape = PromptShape()
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    attention: Kernel = "auto"
    mesh: MeshOptions = MeshOptions()
    lora: LoraOptions = LoraOptions()
    sampling: SamplingOptions = SamplingOptions()
    hint: HintOptions = HintOptions()
    loss: LossOptions = LossOptions(kind="seq_sum", beta=0.1)
    grpo: GrpoOptions = GrpoOptions(group_size=8, micro_batches=0, remat="full")


@dataclass(frozen=True)
class AblationOptions:
    """tables: names of `jobs.arms.TABLES`, made in this order. base: what all arms share. seeds: of each arm;
    hint_seeds: of the hint arms, the first ones the same. minutes: no cell is begun later than this (0: no limit); the
    same command goes on. cross_traces: a teacher's traces of the second domain, for cross_domain (default: beside it).
    """

    job: Literal["ablation"] = "ablation"
    tables: tuple[str, ...] = ("hint",)
    seeds: int = 3
    hint_seeds: int = 8
    minutes: float = 0.0
    cross_traces: str = ""
    base: Config = Config()

    def __post_init__(self) -> None:
        for name in self.tables:
            if name not in TABLES:
                raise InputError(f"tables: {name!r} is none of {', '.join(TABLES)}")
        if self.seeds < 1 or self.hint_seeds < 1 or self.minutes < 0:
            raise InputError("seeds and hint_seeds must be at least 1, minutes at least 0")

    def seeds_of(self, arm: Arm) -> int:
        """How many seeds an arm is to have."""
        return max(self.seeds, self.hint_seeds) if arm.name in MANY else self.seeds
