"""Splash attention cut over a mesh: each device runs the kernel on its own heads and rows."""

import os
import subprocess
import sys

SCRIPT = """
import functools
import jax, jax.numpy as jnp, numpy as np
from emsa_jax.parallel.mesh import MeshOptions, make_mesh
from emsa_jax.parallel.rules import UPDATE, using
from emsa_jax.policy import attention, attention_kernels

attention_kernels.splash.make_splash_mha_single_device = functools.partial(
    attention_kernels.splash.make_splash_mha_single_device, interpret=True)
n, group, p, c, d = 4, 2, 9, 6, 8
mask = np.arange(p) >= np.array([0, 3, 1, 5])[:, None]
for heads, kv_heads in ((4, 2), (2, 1)):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((rows, length, h, d)).astype(np.float32) for rows, length in ((n, p), (n * group, c))
              for h in (heads, kv_heads, kv_heads)]
    pull = [rng.standard_normal(arrays[i].shape).astype(np.float32) for i in (0, 3)]
    pull[0] *= mask[..., None, None]

    def loss(arrays, kernel):
        out = attention.group_attention(*arrays, jnp.asarray(mask), kernel=kernel)
        return sum(jnp.sum(a * b) for a, b in zip(out, pull)), out

    graded = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    (_, plain), plain_grads = graded(arrays, "plain")
    mesh, _ = make_mesh(MeshOptions(data=2, tensor=2))
    with using(mesh, UPDATE):
        lowered = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1).lower(arrays, "splash")
    assert "manual_computation" in lowered.as_text() or "shard_map" in lowered.as_text()
    (_, cut), cut_grads = lowered.compile()(arrays)
    np.testing.assert_allclose(np.where(mask[..., None, None], cut[0] - plain[0], 0), 0, atol=1e-5)
    np.testing.assert_allclose(cut[1], plain[1], atol=1e-5)
    for a, b in zip(jax.tree.leaves(cut_grads), jax.tree.leaves(plain_grads)):
        np.testing.assert_allclose(a, b, atol=1e-4)
print("equal")
"""


def test_the_kernel_on_four_devices_is_plain_attention():
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]
