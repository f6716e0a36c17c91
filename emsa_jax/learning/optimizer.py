"""AdamW with warm-up, a schedule and clipping, from options."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from emsa_jax.learning.learning_options import OptimizerOptions

B1, EPS = 0.9, 1e-8  # of Adam


def learning_rate_schedule(options: OptimizerOptions, total_steps: int) -> optax.Schedule:
    """Learning rate as a function of the step (0-based)."""
    warmup = int(options.warmup if options.warmup >= 1 else options.warmup * total_steps)
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
    adam = optax.adamw(schedule, b1=B1, b2=options.b2, eps=EPS, weight_decay=options.weight_decay, mask=mask)
    if options.clip_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), adam)
