"""Options of the stages that learn. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.answers.captions import Kind
from emsa_jax.config.fields import Options, option, refuse_repeated
from emsa_jax.errors import InputError
from emsa_jax.learning.learning_options import OptimizerOptions

MOST_STEPS = 10**7  # of a stage: its learning rates are a table
_OPTIMIZER = OptimizerOptions(1e-5, warmup=0.03, weight_decay=0.01, b2=0.95)


def _check_length(options: "SftOptions | GrpoOptions") -> None:
    if not options.epochs and not options.max_steps:
        raise InputError("set epochs or max_steps: the schedule needs an end")


def _check_extension(options: "SftOptions | GrpoOptions") -> None:
    if len(options.extend_rates) > len(options.extend):
        raise InputError(f"extend_rates names {len(options.extend_rates)} phases, and extend {len(options.extend)}")


def _check_warmup(options: "SftOptions | GrpoOptions", updates: int) -> None:
    warmup = options.optimizer.warmup
    if options.max_steps and warmup > max(updates, 1):
        raise InputError(
            f"optimizer.warmup of {warmup:g} updates is longer than the run of {updates}: its learning rate would "
            "never be reached; lower it, or give a share below 1"
        )


def _check_parts(whole: int, parts: int, name: str) -> None:
    if parts and whole % parts:
        raise InputError(f"{name} {whole} must be a multiple of micro_batches {parts}")


@dataclass(frozen=True)
class SftOptions(Options):
    """The cold start."""

    group: ClassVar[str] = "sft"
    trainable: Literal["lora", "all"] = option(
        "lora",
        "lora: an adapter over the given policy; all: everything, for a policy without a pretrained base",
        source="MSA-Thinker, section III.B.2: lora",
    )
    targets: Literal["traces", "labels", "cues"] = option(
        "traces",
        "what is learned: traces; for formats without reasoning the labels of all clips; for descriptions the cues "
        "that are known of clips, from the description that came with them or from their concepts",
    )
    asks: tuple[Literal["both", "visual", "audio"], ...] = option(
        ("both",),
        "what the instructions ask about, each of these of every clip that has it: both branches, or what is seen or "
        "heard alone, where no gradient flows into the other's bridge",
        source="XEmoGPT, section IV, stage 3: all three",
    )
    epochs: float = option(3.0, "passes over the traces at most", low=0, high=MOST_STEPS)
    max_steps: int = option(0, "updates at most, in place of epochs; 0: epochs count", low=0, high=MOST_STEPS)
    extend: tuple[int, ...] = option(
        (),
        "updates of further phases, each with the whole schedule of the learning rate, which begin where the stage had "
        "ended; a finished run goes on when more are named",
        low=1,
        high=MOST_STEPS,
        grows=True,
    )
    extend_rates: tuple[float, ...] = option(
        (),
        "the peak learning rate of each further phase as a share of optimizer.learning_rate; 1 where none is named",
        above=0,
        high=100,
        grows=True,
    )
    batch_size: int = option(32, "traces of an update", low=1)
    micro_batches: int = option(
        1, "parts that an update takes in turn; 0: as few as fit the devices, by arithmetic", low=0
    )
    eval_every: int = option(50, "updates between evaluations on at most 128 clips of the validation split", low=1)
    patience: int = option(
        3, "evaluations without a rise of the validation reward after which it stops, keeping the best", low=1
    )
    save_every: int = option(50, "updates between checkpoints", low=1)
    max_per_class: int = option(
        0, "learn from at most so many traces of each class, chosen by the seed and their ids; 0: from all", low=0
    )
    remat: Literal["auto", "none", "dots", "full"] = option(
        "auto",
        "what the backward pass computes again: nothing, all but products with weights, or everything; auto: the first "
        "of these that fits the device, on CPUs without none, which is slower there",
    )
    optimizer: OptimizerOptions = _OPTIMIZER

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.asks:
            raise InputError("sft.asks: name at least one of both, visual, audio")
        refuse_repeated("sft.asks", self.asks)
        _check_length(self)
        _check_extension(self)
        _check_warmup(self, self.max_steps)
        _check_parts(self.batch_size, self.micro_batches, "batch_size")


@dataclass(frozen=True)
class AlignOptions(Options):
    """Alignment of projectors with the text model, which stays as it is, as do the towers."""

    group: ClassVar[str] = "align"
    towers: tuple[Literal["audio", "vision"], ...] = option(("audio",), "towers whose projectors are aligned")
    method: Literal["closed", "gradient"] = option(
        "closed",
        "closed: ridge regression from the towers' tokens to the embeddings of the targets; gradient: next-token loss "
        "on the targets",
    )
    targets: Kind = option(
        "words",
        "what clips are described with: words, one for the class; captions, of class, strength and concepts; "
        "transcripts, what is said in them, of which there must be 200 different ones",
    )
    words: dict[str, str] = option(
        {name: name for name in ("Negative", "Neutral", "Positive")},
        "class -> the word for it, best that of the answers; a class without one is written in small letters",
    )
    ridge: float = option(
        0.01, "closed: weight of the squared weights beside the mean variance of a feature", above=0, high=1e6
    )
    batch_size: int = option(16, "clips of an update, or that are encoded at a time", low=1)
    max_steps: int = option(200, "gradient: updates", low=1, high=MOST_STEPS)
    learning_rate: float = option(1e-3, "gradient: the peak of the learning rate", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.towers:
            raise InputError("align.towers: name at least one tower")
        refuse_repeated("align.towers", self.towers)


@dataclass(frozen=True)
class GrpoOptions(Options):
    """Hint-GRPO."""

    group: ClassVar[str] = "grpo"
    group_size: int = option(
        4, "G, answers to a prompt", low=2, high=10**4, source="MSA-Thinker and CH-CEMS, section 5.1: 4"
    )
    prompts_per_step: int = option(64, "N, prompts of a step", low=1, source="CH-CEMS, section 5.1: 8 x 8 x 4 / G")
    num_iterations: int = option(1, "updates on each rollout", low=1, high=1000, source="MSA-Thinker: on-policy")
    epochs: float = option(
        1.0, "passes over the clips at most", low=0, high=MOST_STEPS, source="CH-CEMS, section 5.1: 3"
    )
    max_steps: int = option(0, "steps at most, in place of epochs; 0: epochs count", low=0, high=MOST_STEPS)
    extend: tuple[int, ...] = option((), "steps of further phases, as sft.extend", low=1, high=MOST_STEPS, grows=True)
    extend_rates: tuple[float, ...] = option((), "as sft.extend_rates", above=0, high=100, grows=True)
    micro_batches: int = option(
        1, "parts that an update takes in turn; 0: as few as fit the devices, by arithmetic", low=0
    )
    save_every: int = option(10, "steps between checkpoints", low=1)
    eval_every: int = option(
        10,
        "steps between looks at greedy answers to at most 64 clips of the validation split, by whose reward the best "
        "adapter is kept, and which tell whether answers collapse; there is one after the last step too, and one after "
        "the first, which keeps nothing. 0: no look, the last adapter is kept",
        low=0,
    )
    answer_rows: tuple[int, ...] = option(
        (),
        "rows that the answers of a group are packed into for reference and update, the fewest of these that do; (): a "
        "row each. Saves time where answers are much shorter than the longest may be",
        low=1,
    )
    remat: Literal["auto", "none", "dots", "full"] = option(
        "auto", "what the backward pass computes again, as sft.remat"
    )
    optimizer: OptimizerOptions = _OPTIMIZER

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(rows <= self.group_size for rows in self.answer_rows):
            raise InputError(f"answer_rows must be between 1 and group_size {self.group_size}, not {self.answer_rows}")
        _check_length(self)
        _check_extension(self)
        _check_warmup(self, self.max_steps * self.num_iterations)
        _check_parts(self.prompts_per_step, self.micro_batches, "prompts_per_step")

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """The row counts that are compiled, rising; the last holds any answers."""
        return tuple(sorted({*self.answer_rows, self.group_size}))
