"""What a GRPO step writes of itself."""

import numpy as np
import pytest

from emsa_jax.training.step_metrics import combine_updates


def update(cause, change, loss=1.0, gap=0.1):
    return {
        "loss": np.float32(loss),
        "sampling/logp_difference_max": np.float32(gap),
        "guard/cause": np.int32(cause),
        "guard/largest_change": np.float32(change),
    }


@pytest.mark.parametrize(
    "causes, cause, bad", [((0, 0, 0), 0, 0), ((1, 0, 0), 1, 1), ((0, 0, 2), 2, 1), ((0, 3, 1), 3, 2)]
)
def test_every_update_of_a_step_counts(causes, cause, bad):
    updates = [update(one, 0.0 if one else 0.5, loss=i, gap=i + 0.1) for i, one in enumerate(causes)]
    found = combine_updates(updates)
    assert (found["guard/cause"], found["guard/bad_updates"]) == (cause, bad)
    assert found["guard/largest_change"] == 0.5 and found["loss"] == 2
    assert found["sampling/logp_difference_max"] == np.float32(0.1)  # of the first, which is still the sampler's policy
