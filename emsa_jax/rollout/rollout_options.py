"""Options of rollouts: sampling, prompts and hints. Imports no jax."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.answers.formats import label_parts
from emsa_jax.config.fields import Options, option, refuse_repeated
from emsa_jax.data.data_options import MODALITIES
from emsa_jax.errors import InputError

HOTTEST = 100.0  # a higher temperature draws every token alike, whatever the policy
COLDEST = 0.01  # a lower temperature that is not 0 makes logits overflow in bfloat16 and float16 (vLLM warns there too)


def check_temperature(name: str, temperature: float | None) -> None:
    """Raises InputError for a temperature so low that log-probabilities would not be finite."""
    if temperature and temperature < COLDEST:
        raise InputError(
            f"{name} must be 0, for the likeliest token, or at least {COLDEST:g}, not {temperature!r}: "
            "log-probabilities would not be finite"
        )


@dataclass(frozen=True)
class EncodingOptions(Options):
    """Encodings of frozen towers, kept on disk for later steps, stages and runs."""

    group: ClassVar[str] = "encodings"
    path: str = option(
        "", "the directory, which runs may share; empty: encodings, in the work directory", affects_results=False
    )
    max_gb: float = option(
        4.0,
        "how much is kept at most; what was not used for longest makes room. 0: nothing",
        unit="GB",
        low=0,
        affects_results=False,
    )


@dataclass(frozen=True)
class SamplingOptions(Options):
    """How answers are drawn."""

    group: ClassVar[str] = "sampling"
    top_k: ClassVar[int] = 0
    min_p: ClassVar[float] = 0.0
    min_new_tokens: ClassVar[int] = 0
    suppress_tokens: ClassVar[tuple[int, ...]] = ()

    temperature: float = option(
        1.0,
        "logits are divided by this; 0 takes the likeliest token",
        low=0,
        high=HOTTEST,
        source="CH-CEMS, section 5.1: 1.1",
    )
    top_p: float = option(
        1.0,
        "only the likeliest tokens that make up this probability; with less than 0.001 all answers would be the same",
        low=0.001,
        high=1,
        source="CH-CEMS, section 5.1: 0.93",
    )
    max_completion_length: int = option(
        512, "most tokens of an answer, forced ones included", unit="tokens", low=1, high=10**6
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature("sampling.temperature", self.temperature)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature == 0

    @property
    def divisor(self) -> float:
        """What logits are divided by wherever a log-probability is reported."""
        return self.temperature or 1.0


@dataclass(frozen=True)
class MeasuredSampling(SamplingOptions):
    """Sampling for measurements beside other libraries, which no run needs. Neither min_new_tokens nor
    suppress_tokens changes the log-probabilities that are reported."""

    top_k: int = option(0, "only so many of the likeliest tokens; 0: all", low=0)
    min_p: float = option(0.0, "only tokens of at least this share of the largest probability", low=0, below=1)
    min_new_tokens: int = option(0, "before so many tokens, the end token is not drawn", unit="tokens", low=0)
    suppress_tokens: tuple[int, ...] = option((), "token ids that are never drawn", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_new_tokens > self.max_completion_length:
            raise InputError(
                f"sampling.min_new_tokens must be between 0 and max_completion_length, not {self.min_new_tokens}"
            )


@dataclass(frozen=True)
class PromptOptions(Options):
    """What is put before the policy."""

    group: ClassVar[str] = "prompt"
    modalities: tuple[str, ...] = option(MODALITIES, "what is put into the prompt where a clip has it")
    audio_in_video: bool = option(
        False,
        "sound and frames interleaved in time, as Qwen2.5-Omni does it for a video with its own sound",
        source="Qwen2.5-Omni, section 2.2",
    )
    capitals: Literal["kept", "lowered"] = option(
        "kept",
        "lowered: words that are all in capitals, as those of CMU-MOSI, are put in small letters, in which text models "
        "have read most of what they know",
    )
    instructions: str = option(
        "",
        "a JSON file of instructions in place of the format's own, by language and by what is asked about: "
        '{"en": {"both": "...", "visual": "...", "audio": "..."}}, with {words} for the utterance',
    )
    buckets: tuple[int, ...] = option(
        (),
        "prompt lengths that are compiled, rising; (): at most four, from the lengths of the data, or one where more "
        "would save little",
        unit="tokens",
        low=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.modalities or not set(self.modalities) <= set(MODALITIES):
            raise InputError(
                f"prompt.modalities is {list(self.modalities)}; it must name some of {', '.join(MODALITIES)}"
            )
        refuse_repeated("prompt.modalities", self.modalities)
        refuse_repeated("prompt.buckets", self.buckets)


@dataclass(frozen=True)
class HintOptions(Options):
    """What is done with hard groups: those in which every answer fails."""

    group: ClassVar[str] = "hint"
    mode: Literal["hint", "off", "drop_hard"] = option(
        "hint",
        "hint: hard groups are sampled again after the truth; off: they are left alone; drop_hard: they are left out",
        source="MSA-Thinker and C2F-Thinker, section III.B.3 and table V",
    )
    metric: str = option(
        "total",
        "what tells hard groups: total, the weighted sum of rewards, polarity or accuracy, the class, or another part",
        source="MSA-Thinker, section III.B.3",
    )
    threshold: Literal["auto"] | float = option(
        "auto",
        "an answer fails strictly below it; auto: what a right class in good form earns at least",
        source="ours: the papers name none",
    )
    trigger_fraction: float = option(
        1.0,
        "share of a group that must fail to make it hard",
        above=0,
        high=1,
        source="MSA-Thinker, section III.B.3: all",
        experimental=True,
    )
    truncated_as_fail: bool = option(
        True, "an answer cut off at the length limit counts as 0 here, whatever it earned", experimental=True
    )
    replace: Literal["all"] | int = option(
        "all",
        "answers of a hard group that are replaced: all, or so many, its last ones",
        low=1,
        source="MSA-Thinker, section III.B.3: all",
    )
    keep: Literal["all", "consistent"] = option(
        "all",
        "which hinted answers take the place of others: all, or those alone whose stated evidence supports the "
        "polarity that they were given",
        experimental=True,
    )
    loss_on_hint: bool = option(
        False,
        "forced tokens count in the loss as sampled ones do; refused with replace=all and loss.beta above 0",
        experimental=True,
    )
    count_polarity_reward: bool = option(
        True, "hinted answers earn the reward for what they were given", experimental=True
    )
    temperature: float | None = option(
        None, "of the second rollout; none: as sampling.temperature", above=0, high=HOTTEST, experimental=True
    )
    levels: str = option(
        "polarity",
        "what is given away, as the answer format names it: polarity of DC answers, sentiment or sentiment+concepts of "
        "those with concepts",
        source="MSA-Thinker, section III.B.3: polarity",
    )
    polarity_nll: float = option(
        0.0, "weight of -log p(true polarity), added to the loss", unit="1/nat", low=0, high=1e4, experimental=True
    )
    polarity_nll_scope: Literal["hard", "all"] = option(
        "hard", "groups in which polarity_nll counts", experimental=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature("hint.temperature", self.temperature)
        number = isinstance(self.threshold, int | float) and not isinstance(self.threshold, bool)
        if self.threshold != "auto" and not (number and math.isfinite(self.threshold)):
            raise InputError(f"hint.threshold: must be 'auto' or a finite number, not {self.threshold!r}")
        if self.threshold == "auto" and self.metric not in ("total", *label_parts()):
            raise InputError(f"hint.threshold: for {self.metric!r} give a number, 'auto' cannot tell")

    def check(self, group_size: int, beta: float) -> None:
        """Raises InputError for a combination that cannot work, with the reason."""
        if self.replace != "all" and not 0 < self.replace < group_size:
            raise InputError(f"hint.replace must be 'all' or between 1 and {group_size - 1}, not {self.replace}")
        if self.mode == "hint" and self.replace == "all" and self.loss_on_hint and beta > 0:
            raise InputError(
                "hint.loss_on_hint with hint.replace=all and loss.beta > 0 is refused: the advantages of "
                "a group that shares its forced tokens sum to zero, so only the KL would act on them and "
                "pull the true polarity down; use hint.replace=K, hint.polarity_nll, or loss.beta=0"
            )

    def num_hinted(self, group_size: int) -> int:
        """Answers of a hard group that are sampled again."""
        return group_size if self.replace == "all" else self.replace
