"""Updates of bridges: gradients do not depend on how the batch is cut, and a bridge learns what a linear cannot."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emsa_jax.learning.bridge_update import COLDEST, BridgeBatch, BridgeLoss, bridge_gradients, bridge_update
from emsa_jax.learning.contrastive import info_nce, masked_frame_loss, order_loss
from emsa_jax.learning.state import create_state
from emsa_jax.policy.bridges import caption_vectors, clip_vectors, encode_bridge, heads_table, order_logits
from emsa_jax.policy.layers import linear
from emsa_jax.policy.parameter_table import bridge_table, init_table
from emsa_jax.policy.thinker_config import BridgeConfig

SIZES = dict(hidden_size=12, intermediate_size=20, num_attention_heads=2, num_hidden_layers=1)
VECB, AECB = (BridgeConfig(**SIZES, output_size=6, text_size=5, positions=positions) for positions in (4, 0))
LOSS = BridgeLoss(order_weight=0.5, mask_weight=0.1)


def fresh(config, seed=0):
    return init_table([*bridge_table(config), *heads_table(config)], jax.random.key(seed))


def batch(size=8, seed=0):
    rng = np.random.default_rng(seed)
    return BridgeBatch(
        rng.standard_normal((size, 4, 12), np.float32),
        np.arange(4) < rng.integers(2, 5, (size, 1)),
        rng.standard_normal((size, 5), np.float32),
        np.stack([rng.permutation(4) for _ in range(size)]).astype(np.int32),
        rng.random((size, 4)) < 0.5,
    )


def plain(params, b, config):
    """The loss as one formula, all at once."""
    heads = params["heads"]
    clips = clip_vectors(heads, config, encode_bridge(params["bridge"], config, b.states, b.valid), b.valid)
    value = info_nce(clips, caption_vectors(heads, b.captions), heads["temperature"])
    if not config.sees:
        return value
    rows = np.arange(len(b.states))[:, None]
    shuffled, valid = b.states[rows, b.order], b.valid[rows, b.order]
    other = clip_vectors(heads, config, encode_bridge(params["bridge"], config, shuffled, valid), valid)
    value += LOSS.order_weight * order_loss(order_logits(heads, clips), order_logits(heads, other))
    seen = jnp.where(b.masked[..., None], heads["mask_token"], b.states)
    rebuilt = linear(encode_bridge(params["bridge"], config, seen, b.valid), heads["frame_reconstructor"])
    return value + LOSS.mask_weight * masked_frame_loss(rebuilt, b.states, b.masked & b.valid)


@pytest.mark.parametrize("config", [VECB, AECB], ids=["VECB", "AECB"])
def test_gradients_do_not_depend_on_micro_batches(config):
    params, b = fresh(config), batch()
    value, wanted = jax.jit(jax.value_and_grad(plain), static_argnums=2)(params, b, config)
    run = jax.jit(functools.partial(bridge_gradients, config=config, loss=LOSS, micro_batches=4))
    grads, logged = run(params, b)
    assert float(logged["loss"]) == pytest.approx(float(value), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), grads, wanted)
    assert 0 <= float(logged["retrieval/at_1"]) <= float(logged["retrieval/at_5"]) <= 1


def test_a_bridge_learns_what_only_the_order_of_frames_tells():
    """Two frames, the same ones in every clip: captions say which came first. No mean over frames could tell."""
    rng = np.random.default_rng(0)
    pool, words = rng.standard_normal((5, 12)).astype(np.float32), rng.standard_normal((20, 5)).astype(np.float32)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    states = np.stack([pool[[i, j, 0, 0]] for i, j in pairs])
    valid = np.tile([True, True, False, False], (20, 1))
    order = np.tile(np.array([1, 0, 2, 3], np.int32), (20, 1))
    b = BridgeBatch(states, valid, words, order, np.zeros((20, 4), bool))
    optimizer = optax.adam(1e-2)
    params = fresh(VECB)
    params["heads"]["temperature"] = jnp.float32(0.1)
    run = jax.jit(functools.partial(bridge_update, config=VECB, loss=LOSS, optimizer=optimizer, micro_batches=2))
    state = create_state(params, optimizer)
    for _ in range(150):
        state, logged = run(state, b)
    assert float(logged["retrieval/at_1"]) > 0.9
    assert float(state.params["heads"]["temperature"]) >= np.float32(COLDEST)


DEVICES = """
import functools, sys, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
sys.path.insert(0, {root!r})
from emsa_jax.learning.bridge_update import bridge_gradients
from tests.learning.test_bridge_update import LOSS, VECB, batch, fresh
run = jax.jit(functools.partial(bridge_gradients, config=VECB, loss=LOSS, micro_batches=2))
mesh = Mesh(np.array(jax.devices()), ("batch",))
cut = jax.device_put(batch(), NamedSharding(mesh, PartitionSpec("batch")))
one, two = run(fresh(VECB), batch()), run(fresh(VECB), cut)
for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
print(len(jax.devices()), "devices")
"""


@pytest.mark.slow
def test_negatives_are_those_of_all_devices():
    """Loss and gradients of a batch that lies on four devices are those of one."""
    root = Path(__file__).parents[2]
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", DEVICES.format(root=str(root))]
    done = subprocess.run(command, cwd=root, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "4 devices", done.stderr
