"""What the programs of a GRPO step are given, as shapes alone: to compile them without weights, data or tokenizer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.planning.memory import GrpoWork
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.parameter_table import abstract_params
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.hints import Hints, redraw_sizes
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.runtime.placement import Placement
from emsa_jax.training.step import Base

HINT_TOKENS = 10  # of the forced beginning of a DC answer


def abstract_step(policy: ThinkerConfig, placement: Placement, work: GrpoWork) -> tuple[Base, Any, Any, Any]:
    """(base, reference adapter or None, train state, optimizer), all but the last as ShapeDtypeStructs on the mesh."""
    params = abstract_params(policy, jnp.dtype(work.dtype))
    base = Base(_with_shardings(params, placement.update.params()), _with_shardings(params, placement.decode.params()))
    adapter, optimizer = abstract_adapter(policy, work.lora), build_optimizer(work.optimizer, 1)
    state = jax.eval_shape(lambda a: create_state(a, optimizer), adapter)
    state = _with_shardings(state, placement.update.state(state))
    return base, state.params if work.reference else None, state, optimizer


def abstract_hints(*, max_completion_length: int, prompts: int, shards: int) -> Hints:
    """Hints of the usual length, for which no tokenizer is needed.

    Args:
      prompts: of a step. shards: equal parts that the mesh cuts them into.
    """
    return Hints(
        options=HintOptions(),
        format=None,
        level="",
        ids=np.zeros((1, HINT_TOKENS), np.int32),
        lengths=np.full(1, HINT_TOKENS, np.int32),
        labels=np.zeros((1, HINT_TOKENS), bool),
        rows={},
        slots=max_completion_length,
        prompts=prompts,
        sizes=redraw_sizes(prompts, shards),
    )


def _with_shardings(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree, shardings
    )
