"""What can be said of rollouts: sampling, prompts and hints. Imports no jax."""

import math
from dataclasses import dataclass
from typing import Literal

from emsa_jax.answers.formats import label_parts
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are drawn. top_k 0, top_p 1 and min_p 0 leave the distribution whole; greedy takes the likeliest.

    min_new_tokens: before so many, the end token is not drawn. suppress_tokens: ids that are never drawn. Neither
    changes the log-probabilities that are reported."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    greedy: bool = False
    max_completion_length: int = 512
    min_new_tokens: int = 0
    suppress_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise InputError(f"sampling.temperature must be positive, not {self.temperature}; use greedy for 0")
        if not 0 < self.top_p <= 1 or not 0 <= self.min_p < 1 or self.top_k < 0:
            raise InputError("sampling: top_p must be in (0, 1], min_p in [0, 1), top_k at least 0")
        if self.max_completion_length < 1:
            raise InputError("sampling.max_completion_length must be at least 1")
        if not 0 <= self.min_new_tokens <= self.max_completion_length:
            raise InputError(
                f"sampling.min_new_tokens must be between 0 and max_completion_length, not {self.min_new_tokens}"
            )
        if any(token < 0 for token in self.suppress_tokens):
            raise InputError("sampling.suppress_tokens must be token ids, none below 0")


@dataclass(frozen=True)
class PromptOptions:
    """video, audio, text: modalities that are shown where a clip has them. audio_in_video: sound and frames
    interleaved in time, as Qwen2.5-Omni does it for a video with its own sound. buckets: prompt lengths that are
    compiled, rising; () means one, the longest of the data."""

    video: bool = True
    audio: bool = True
    text: bool = True
    audio_in_video: bool = False
    buckets: tuple[int, ...] = ()


@dataclass(frozen=True)
class HintOptions:
    """What to do with hard groups.

    mode: "hint" samples them again after the true polarity; "off" leaves them; "drop_hard" leaves them out.
    metric: what tells hard groups: "total" (the weighted sum), "polarity" or "accuracy" (the class), or the name of
      another part.
    threshold: "auto" or a number; an answer fails strictly below it.
    trigger_fraction: the share of a group that must fail.
    truncated_as_fail: an answer cut off at the length limit counts as 0 here, whatever it earned.
    replace: "all" answers of a hard group are replaced, or as many as the number says (its last ones).
    loss_on_hint: the forced tokens count as sampled ones. Refused with replace "all" and beta > 0.
    count_polarity_reward: hinted answers earn the polarity reward for the polarity they were given.
    template: the forced text with {polarity} in it; none: how the answer format begins.
    on_fail: a hinted group that is still hard is kept, gets its original answers back, or is dropped.
    adv_scale: "inherit", or "none": hinted groups are not divided by their standard deviation.
    loss_weight: factor of hinted answers in the loss.
    temperature: of the re-rollout; none: as sampling.temperature.
    levels: what is told, as the answer format knows it: "polarity" of DC answers; "sentiment" or
      "sentiment+concepts" of those with concepts.
    start_step, prob, max_fraction: from which step on, with which chance, for which share of a step's prompts.
    count_in_budget: forced tokens count toward max_completion_length.
    buckets: sizes in which hard groups are sampled again; () means a quarter of the prompts, and all.
    polarity_nll: weight of -log p(true polarity), added to the loss; polarity_nll_scope: on "hard" groups or "all".
    """

    mode: Literal["hint", "off", "drop_hard"] = "hint"
    metric: str = "total"
    threshold: Literal["auto"] | float = "auto"
    trigger_fraction: float = 1.0
    truncated_as_fail: bool = True
    replace: Literal["all"] | int = "all"
    loss_on_hint: bool = False
    count_polarity_reward: bool = True
    template: str | None = None
    on_fail: Literal["keep", "original", "drop"] = "keep"
    adv_scale: Literal["inherit", "none"] = "inherit"
    loss_weight: float = 1.0
    temperature: float | None = None
    levels: tuple[str, ...] = ("polarity",)
    start_step: int = 0
    prob: float = 1.0
    max_fraction: float = 1.0
    count_in_budget: bool = True
    buckets: tuple[int, ...] = ()
    polarity_nll: float = 0.0
    polarity_nll_scope: Literal["hard", "all"] = "hard"

    def __post_init__(self) -> None:
        self._check_trigger()
        if len(self.levels) != 1:
            raise InputError(f"hint.levels must be one level, as ('polarity',), not {self.levels}")
        if self.template is not None and "{polarity}" not in self.template:
            raise InputError("hint.template must hold {polarity}")
        if not (0 <= self.prob <= 1 and 0 <= self.max_fraction <= 1):
            raise InputError("hint.prob and hint.max_fraction must be in [0, 1]")
        if min(self.loss_weight, self.polarity_nll, self.start_step) < 0:
            raise InputError("hint.loss_weight, hint.polarity_nll and hint.start_step must not be negative")
        if any(size < 1 for size in self.buckets):
            raise InputError(f"hint.buckets must be positive, not {self.buckets}")
        if self.temperature is not None and self.temperature <= 0:
            raise InputError("hint.temperature must be positive, or none")

    def _check_trigger(self) -> None:
        number = isinstance(self.threshold, int | float) and not isinstance(self.threshold, bool)
        if self.threshold != "auto" and not (number and math.isfinite(self.threshold)):
            raise InputError(f"hint.threshold: must be 'auto' or a finite number, not {self.threshold!r}")
        if self.threshold == "auto" and self.metric not in ("total", *label_parts()):
            raise InputError(f"hint.threshold: for {self.metric!r} give a number, 'auto' cannot tell")
        if not 0 < self.trigger_fraction <= 1:
            raise InputError(f"hint.trigger_fraction: must be in (0, 1], not {self.trigger_fraction!r}")

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
