"""Options of learning: advantages, loss and optimizer. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.config.fields import Options, option
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class AdvOptions(Options):
    """Advantages: how much better an answer is than the others to the same prompt."""

    group: ClassVar[str] = "adv"
    scale: Literal["group", "batch", "none"] = option(
        "group",
        "divide by the standard deviation of the group, of the whole batch, or by nothing",
        source="MSA-Thinker, equation 7: group; Dr. GRPO: none",
    )
    min_std: float = option(
        0.0,
        "a group whose rewards spread less than this teaches nothing: its advantages would be amplified noise",
        low=0,
        experimental=True,
    )


@dataclass(frozen=True)
class LossOptions(Options):
    """The policy loss."""

    group: ClassVar[str] = "loss"
    kind: Literal["grpo", "dapo", "bnpo", "dr_grpo", "seq_sum"] = option(
        "grpo",
        "how the tokens are summed up: seq_sum as the papers print it, grpo averages over each answer, dapo and bnpo "
        "over all tokens, dr_grpo over the longest length",
        source="MSA-Thinker, equation 6: seq_sum; CH-CEMS: grpo",
    )
    beta: float = option(
        0.04,
        "weight of the KL to the reference, the cold start; 0 needs no reference",
        low=0,
        high=1e4,
        source="CH-CEMS, section 5.1: 0.04; MSA-Thinker: 0.1",
    )
    epsilon: float = option(0.2, "clip range of the ratio below 1", above=0, source="PPO; TRL")
    epsilon_high: float | None = option(
        None, "clip range of the ratio above 1; none: as epsilon", above=0, source="DAPO", experimental=True
    )
    delta: float | None = option(
        None, "upper bound of the ratio, also where the advantage is negative", above=1, source="TRL", experimental=True
    )
    importance: Literal["token", "sequence"] = option(
        "token",
        "ratio of each token, or of the whole answer as a geometric mean",
        source="GRPO: token; GSPO: sequence",
        experimental=True,
    )
    use_bias_correction_kl: bool = option(False, "the KL is multiplied by the ratio", source="TRL", experimental=True)
    top_entropy_quantile: float = option(
        1.0,
        "only this share of the tokens, those of highest entropy, feels the policy gradient",
        above=0,
        high=1,
        source="TRL",
        experimental=True,
    )
    kl_on_zero_std_groups: bool = option(
        True, "whether answers of groups without spread feel the KL", source="TRL", experimental=True
    )
    mask_truncated_completions: bool = option(
        False, "leave answers out that were cut off at the length limit", source="DAPO; TRL", experimental=True
    )


@dataclass(frozen=True)
class OptimizerOptions(Options):
    """AdamW with beta1 0.9 and epsilon 1e-8."""

    group: ClassVar[str] = "optimizer"
    learning_rate: float = option(
        1e-5, "the peak of the learning rate", above=0, source="MSA-Thinker: 1e-5; CH-CEMS, section 5.1: 1e-6"
    )
    warmup: float = option(
        0.0, "linear rise from 0 at the start: below 1 a share of all steps, from 1 on so many steps", low=0
    )
    schedule: Literal["cosine", "constant"] = option(
        "cosine", "after the rise: cosine decay to 0, or constant", source="MSA-Thinker: cosine"
    )
    weight_decay: float = option(
        0.0, "decoupled weight decay of matrices; vectors, norms and biases have none", low=0, high=1e3
    )
    b2: float = option(
        0.999,
        "decay of the mean of squared gradients; nearer to 1 its correction would be a division by 0 in float32",
        low=0,
        high=0.99999,
    )
    clip_norm: float | None = option(
        1.0, "largest global norm of a gradient; none: any", above=0, source="CH-CEMS, section 5.1: 0.1"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        taken_away = self.weight_decay * self.learning_rate  # of a weight, at each update
        if self.learning_rate <= 1 <= taken_away:  # a larger rate ends in numbers that are not finite, which is told
            raise InputError(
                f"optimizer.weight_decay {self.weight_decay:g} times learning_rate {self.learning_rate:g} must be "
                "below 1: an update would take away all of a weight, and more; lower one of them"
            )
        if self.warmup > 1 and self.warmup % 1:
            raise InputError(
                f"optimizer.warmup must be a share below 1, or a whole number of updates, not {self.warmup!r}"
            )


@dataclass(frozen=True)
class GuardOptions(Options):
    """When a stage that learns is warned of, or ended."""

    group: ClassVar[str] = "guard"
    max_bad_steps: int = option(
        3,
        "steps in a row with an update that is not taken, since it is not finite, after which the run ends",
        low=1,
        affects_results=False,
    )
    unparsed: float = option(
        0.5,
        "share of answers whose label cannot be read above which it warns",
        low=0,
        high=1,
        affects_results=False,
    )
    cut_off: float = option(
        0.9,
        "share of answers cut off at the length limit above which it warns",
        low=0,
        high=1,
        affects_results=False,
    )
    no_spread: float = option(
        0.95,
        "share of groups whose answers all earn the same above which it warns",
        low=0,
        high=1,
        affects_results=False,
    )
    collapse: float = option(
        0.9,
        "share of greedy answers to validation clips that are one and the same text, or name one and the same class, "
        "above which it warns",
        low=0,
        high=1,
        affects_results=False,
    )
