"""What can be said of learning: advantages, loss and optimizer. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class AdvOptions:
    """scale: divide by the standard deviation of the group, of the whole batch, or of nothing (Dr. GRPO).
    ddof: degrees of freedom removed from the variance. eps: added to the standard deviation. min_std: a
    group whose rewards spread less than this teaches nothing (advantage 0): it would be amplified noise."""

    scale: Literal["group", "batch", "none"] = "group"
    ddof: int = 1
    eps: float = 1e-4
    min_std: float = 0.0

    def __post_init__(self) -> None:
        if self.ddof not in (0, 1):
            raise InputError(f"ddof must be 0 or 1, not {self.ddof}")
        if self.eps < 0 or self.min_std < 0:
            raise InputError("eps and min_std must not be negative")


@dataclass(frozen=True)
class LossOptions:
    """How the loss is made.

    kind: how the tokens are summed up, see learning/losses.py.
    beta: weight of the KL to the reference; 0 needs no reference.
    epsilon, epsilon_high: clip range below and above 1 (epsilon_high None: the same).
    delta: upper bound of the ratio, also where A < 0.
    importance: ratio of each token, or of the whole answer (geometric mean, GSPO).
    kl_clamp: upper bound of k3 at each token (verl: 10).
    use_bias_correction_kl: k3 times the ratio.
    top_entropy_quantile: only this share of the tokens, those of highest entropy, feels the policy gradient.
    kl_on_zero_std_groups: whether answers of groups without spread feel the KL.
    mask_truncated_completions: leave answers out that were cut off at the length limit.
    """

    kind: Literal["grpo", "dapo", "bnpo", "dr_grpo", "seq_sum"] = "grpo"
    beta: float = 0.04
    epsilon: float = 0.2
    epsilon_high: float | None = None
    delta: float | None = None
    importance: Literal["token", "sequence"] = "token"
    kl_clamp: float | None = None
    use_bias_correction_kl: bool = False
    top_entropy_quantile: float = 1.0
    kl_on_zero_std_groups: bool = True
    mask_truncated_completions: bool = False

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise InputError(f"beta must not be negative, not {self.beta}")
        if not 0 < self.top_entropy_quantile <= 1:
            raise InputError(f"top_entropy_quantile must be in (0, 1], not {self.top_entropy_quantile}")
        if self.epsilon < 0 or (self.epsilon_high is not None and self.epsilon_high < 0):
            raise InputError("epsilon and epsilon_high must not be negative")


@dataclass(frozen=True)
class OptimizerOptions:
    """learning_rate: the peak. warmup_steps, or if None warmup_fraction of all steps: linear rise from 0.
    schedule: cosine decay to 0, or constant. clip_norm: bound of the global gradient norm (None:
    unbounded)."""

    learning_rate: float = 1e-5
    warmup_fraction: float = 0.0
    warmup_steps: int | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise InputError(f"learning_rate must be positive, not {self.learning_rate}")
        if not 0 <= self.warmup_fraction < 1:
            raise InputError(f"warmup_fraction must be at least 0 and below 1, not {self.warmup_fraction}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise InputError(f"clip_norm must be positive or none, not {self.clip_norm}")
