import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.learning.advantages import advantages
from emsa_jax.learning.learning_options import AdvOptions

GOLDEN = json.loads((Path(__file__).parents[1] / "fixtures" / "trl_loss.json").read_text())
REWARDS = np.asarray(GOLDEN["inputs"]["rewards"]).reshape(-1, GOLDEN["G"])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equals_trl(scale):
    expected = np.reshape(GOLDEN["advantages"][scale], REWARDS.shape)
    ours = advantages(REWARDS, AdvOptions(scale=scale))
    np.testing.assert_allclose(ours.values, expected, rtol=1e-7, atol=1e-7)
    on_device = jax.jit(lambda r: advantages(r, AdvOptions(scale=scale)))(jnp.asarray(REWARDS, jnp.float32))
    np.testing.assert_allclose(on_device.values, expected, rtol=2e-5, atol=2e-5)
    assert isinstance(ours.values, np.ndarray) and isinstance(on_device.values, jax.Array)


def test_answers_without_a_reward_are_left_out():
    rewards = np.asarray([[1.0, np.nan, 3.0, np.nan], [np.nan] * 4, [2.0, np.nan, np.nan, np.nan]])
    ours = advantages(rewards, AdvOptions())
    step = 1 / (np.sqrt(2) + 1e-4)
    np.testing.assert_allclose(ours.values, [[-step, 0, step, 0], [0] * 4, [0] * 4])
    assert ours.zero_std.tolist() == [False, True, True]


def test_equal_rewards_give_exactly_nothing(monkeypatch):
    monkeypatch.setattr("emsa_jax.learning.advantages.EPS", 0.0)
    rewards = np.full((1, 7), 0.1) * 3  # their mean is not exactly any of them
    ours = advantages(rewards, AdvOptions())
    assert np.all(ours.values == 0) and ours.zero_std.all()


def test_min_std():
    rewards = np.asarray([[1.0, 1.01], [1.0, 2.0]])
    assert advantages(rewards, AdvOptions(min_std=0.1)).values[0].tolist() == [0, 0]
    assert advantages(rewards, AdvOptions()).values[0, 1] > 0.5
    np.testing.assert_allclose(advantages(rewards, AdvOptions()).values[1], [-0.7070068, 0.7070068], rtol=1e-6)
    unscaled = advantages(rewards, AdvOptions(scale="none")).values
    np.testing.assert_allclose(unscaled, [[-0.005, 0.005], [-0.5, 0.5]])


def test_bad_options():
    with pytest.raises(InputError, match="adv.min_std must be at least 0, not -1"):
        AdvOptions(min_std=-1.0)
