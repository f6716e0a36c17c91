"""Each row of a batch is drawn by its own rules, which are those of the sampler."""

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.rollout.draw import draw
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.serving.decoding import Knobs, _draw, _keys

ROWS = [(0.0, 1.0), (0.0, 0.3), (1.0, 1.0), (0.7, 0.5), (2.0, 0.9)]  # temperature, top_p


def knobs(**fields):
    n = len(ROWS)
    known = {"seed": np.zeros(n, np.int32), "answer": np.arange(n, dtype=np.int32), "limit": np.ones(n, np.int32)}
    known |= {"temperature": np.float32([t for t, _ in ROWS]), "top_p": np.float32([p for _, p in ROWS])}
    return Knobs(**(known | {"stopped": np.zeros(n, bool), "alternatives": np.array(False)} | fields))


def test_rows_are_drawn_as_the_sampler_draws_with_their_options():
    rng = np.random.default_rng(0)
    logits = jnp.float32(rng.standard_normal((len(ROWS), 90)) * 3)
    together = jax.jit(lambda uniform: _draw(logits, knobs(), uniform))
    uniform = np.float32(rng.random((20, len(ROWS))))
    found = np.array([together(one) for one in uniform])
    for row, (temperature, top_p) in enumerate(ROWS):
        options = SamplingOptions(temperature=temperature, top_p=top_p)
        alike = jnp.broadcast_to(logits[row], (20, 90))
        np.testing.assert_array_equal(draw(options, alike, uniform[:, row], jnp.int32(0), (1,)), found[:, row])


def test_noise_hangs_on_seed_and_answer():
    keys = jax.random.key_data(_keys(knobs()))
    again = jax.random.key_data(_keys(knobs(answer=np.int32([0, 0, 2, 3, 4]), seed=np.int32([0, 0, 0, 0, 9]))))
    same = [bool((a == b).all()) for a, b in zip(keys, again, strict=True)]
    assert same == [True, False, True, True, False]
