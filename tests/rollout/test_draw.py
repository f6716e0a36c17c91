import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.rollout.draw import draw, truncate
from emsa_jax.rollout.rollout_options import MeasuredSampling, SamplingOptions

LAST = np.nextafter(np.float32(1), np.float32(0))  # the largest that a uniform number can be


def drawn(probabilities, uniform, **options):
    logits = jnp.log(jnp.asarray(probabilities, jnp.float32))
    logits = jnp.broadcast_to(logits, (len(uniform), logits.shape[-1]))
    return np.asarray(draw(SamplingOptions(**options), logits, jnp.asarray(uniform, jnp.float32), 9, (1,)))


def test_the_token_at_which_the_distribution_passes_the_number():
    found = drawn([0.25, 0.0, 0.5, 0.25, 0.0], [0.0, 0.2499, 0.2501, 0.7499, 0.7501, LAST])
    assert found.tolist() == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 152_064])
def test_every_token_of_any_vocabulary_has_its_share_and_no_other(size):
    rng = np.random.default_rng(size)
    probabilities = rng.dirichlet(np.full(size, 0.3)) * (rng.random(size) < 0.7)
    probabilities[size // 2] += 0.1
    probabilities[-3:] *= size < 4  # nothing at the end, where rounding would lead
    probabilities /= probabilities.sum()
    uniform = np.append(rng.random(4000 if size < 2000 else 400, np.float32), [0, LAST])
    found = drawn(probabilities, uniform)
    assert (probabilities[found] > 0).all()
    above = np.cumsum(probabilities)[found]
    assert (uniform <= above + 1e-6).all() and (uniform >= above - probabilities[found] - 1e-6).all()


def test_rows_are_drawn_each_by_its_own_number():
    logits = jax.random.normal(jax.random.key(0), (3, 4, 100))
    uniform = jax.random.uniform(jax.random.key(1), (3, 4))
    together = draw(SamplingOptions(), logits, uniform, 0, (1,))
    for i, j in np.ndindex(3, 4):
        assert draw(SamplingOptions(), logits[i, j], uniform[i, j], 0, (1,)) == together[i, j]
    assert draw(SamplingOptions(temperature=0.0), logits, uniform, 0, (1,)).tolist() == logits.argmax(-1).tolist()


def test_truncation():
    logits = jnp.log(jnp.array([0.1, 0.4, 0.05, 0.3, 0.15]))

    def kept(**options):
        return np.flatnonzero(np.isfinite(truncate(logits, MeasuredSampling(**options)))).tolist()

    assert kept() == [0, 1, 2, 3, 4]
    assert kept(top_k=1) == [1] and kept(top_k=3) == [1, 3, 4] and kept(top_k=99) == [0, 1, 2, 3, 4]
    assert kept(top_p=0.39) == [1] and kept(top_p=0.41) == [1, 3] and kept(top_p=0.84) == [1, 3, 4]
    assert kept(min_p=0.3) == [1, 3, 4] and kept(min_p=0.99) == [1]
    assert kept(top_k=2, top_p=0.5) == [1]  # 0.4 of the 0.7 left is more than half
    assert kept(top_p=1e-3, min_p=0.5, top_k=4) == [1]


@pytest.mark.parametrize(
    "options, text",
    [
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"min_p": 1.0}, "min_p"),
        ({"top_k": -1}, "top_k"),
        ({"max_completion_length": 0}, "max_completion_length"),
    ],
)
def test_options_that_cannot_be(options, text):
    with pytest.raises(InputError, match=text):
        MeasuredSampling(**options)
