"""AdamW with warm-up, a schedule and clipping, from options."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax

from emsa_jax.errors import InputError


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


def learning_rate_schedule(options: OptimizerOptions, total_steps: int) -> optax.Schedule:
    """Learning rate as a function of the step (0-based)."""
    warmup = options.warmup_steps
    if warmup is None:
        warmup = int(options.warmup_fraction * total_steps)
    peak = options.learning_rate
    rest = {
        "cosine": optax.cosine_decay_schedule(peak, max(total_steps - warmup, 1)),
        "constant": optax.constant_schedule(peak),
    }[options.schedule]
    if warmup == 0:
        return rest
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), rest], [warmup])


def decays(path: str, leaf: jax.Array) -> bool:
    """Whether weight decay applies: not to vectors, norms and biases (stacked over layers these are
    matrices: so by name)."""
    return leaf.ndim > 1 and not any(word in part for part in path.split(".")[-2:] for word in ("norm", "bias", "ln_"))


def build_optimizer(
    options: OptimizerOptions, total_steps: int, decays: Callable[[str, jax.Array], bool] = decays
) -> optax.GradientTransformation:
    """Clip by global norm, Adam, decoupled weight decay where `decays(dotted path, leaf)`, learning rate."""

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: decays(jax.tree_util.keystr(path, simple=True, separator="."), leaf), params
        )

    schedule = learning_rate_schedule(options, total_steps)
    adam = optax.adamw(
        schedule, b1=options.b1, b2=options.b2, eps=options.eps, weight_decay=options.weight_decay, mask=mask
    )
    if options.clip_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), adam)
