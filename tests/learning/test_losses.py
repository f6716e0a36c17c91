import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.learning.advantages import advantages
from emsa_jax.learning.learning_options import AdvOptions, LossOptions
from emsa_jax.learning.losses import denominators, entropy_threshold, kl_k3, loss_sums, polarity_nll, policy_loss

GOLDEN = json.loads((Path(__file__).parents[1] / "fixtures" / "trl_loss.json").read_text())
KINDS = {"grpo": "grpo", "bnpo": "bnpo", "dr_grpo": "dr_grpo", "dapo": "dapo", "luspo": "seq_sum"}
CASES = [case for case in GOLDEN["cases"] if case["opts"]["loss"] in KINDS]
LENGTH = GOLDEN["max_completion_length"]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def inputs(opts):
    raw = {name: np.asarray(value) for name, value in GOLDEN["inputs"].items()}
    options = LossOptions(
        kind=KINDS[opts["loss"]],
        beta=opts.get("beta", 0.0),
        epsilon=GOLDEN["epsilon"],
        epsilon_high=opts.get("eh"),
        delta=opts.get("delta"),
        importance=opts.get("is", "token"),
        top_entropy_quantile=opts.get("rho", 1.0),
        use_bias_correction_kl=opts.get("bias_kl", False),
    )
    mask = raw["mask"] * raw["hint_mask"] if opts.get("hint") else raw["mask"]
    scaling = AdvOptions(scale=opts.get("scale", "group"))
    adv = advantages(raw["rewards"].reshape(-1, GOLDEN["G"]), scaling).values
    old = None if opts.get("onpolicy") else jnp.asarray(raw["old"])
    entropies = raw["entropies"].astype(np.float32) if "rho" in opts else raw["entropies"]
    logps, ref = jnp.asarray(raw["logps"]), jnp.asarray(raw["ref"])
    return logps, old, ref, jnp.asarray(adv.ravel()), jnp.asarray(mask), jnp.asarray(entropies), options


def name_of(case):
    return "-".join(f"{key}={value}" for key, value in case["opts"].items())


def test_all_wanted_cases_are_there():
    assert len(CASES) == 40 + 8
    assert sum("onpolicy" in case["opts"] for case in CASES) == 40


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_equals_trl(case):
    logps, old, ref, adv, mask, entropies, options = inputs(case["opts"])

    def loss(logps):
        return policy_loss(logps, old, ref, adv, mask, options, LENGTH, entropies=entropies)

    (value, logged), grad = jax.value_and_grad(loss, has_aux=True)(logps)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(value, case["loss"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(grad, case["grad"], rtol=1e-6, atol=1e-6)
    for name, expected in case["metrics"].items():
        np.testing.assert_allclose(logged[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", sorted(KINDS.values()))
@pytest.mark.parametrize("extra", [{}, {"importance": "sequence"}, {"top_entropy_quantile": 0.4}], ids=str)
def test_micro_batches_add_up(kind, extra):
    logps, old, ref, adv, mask, entropies, _ = inputs({"loss": "grpo"})
    options = LossOptions(kind=kind, beta=0.1, **extra)
    weights = jnp.linspace(0.5, 1.5, len(adv))
    rest = {"weights": weights, "entropies": entropies}
    whole, whole_grad = jax.value_and_grad(lambda x: policy_loss(x, old, ref, adv, mask, options, LENGTH, **rest)[0])(
        logps
    )
    below = denominators(mask, options, LENGTH)
    threshold = entropy_threshold(entropies, mask, options)

    def part(x, rows):
        sums, _ = loss_sums(
            x,
            old[rows],
            ref[rows],
            adv[rows],
            mask[rows],
            options,
            weights=weights[rows],
            entropies=entropies[rows],
            threshold=threshold,
        )
        return sums["loss"] / below["loss"]

    parts = [slice(start, start + 3) for start in range(0, 8, 3)]  # uneven: 3, 3 and 2 answers
    values, grads = zip(*(jax.value_and_grad(part)(logps[rows], rows) for rows in parts), strict=True)
    np.testing.assert_allclose(sum(values), whole, rtol=1e-13)
    np.testing.assert_allclose(jnp.concatenate(grads), whole_grad, rtol=1e-12, atol=1e-15)


def test_padding_rows_change_nothing():
    logps, old, ref, adv, mask, _, _ = inputs({"loss": "grpo"})
    for kind in ("grpo", "dapo"):
        options = LossOptions(kind=kind, beta=0.1)
        alone, _ = policy_loss(logps, old, ref, adv, mask, options, LENGTH)
        padded = [
            jnp.concatenate([x, jnp.full_like(x[:2], fill)])
            for x, fill in ((logps, jnp.nan), (old, jnp.nan), (ref, jnp.nan), (adv, 0.0), (mask, 0))
        ]
        rows = jnp.arange(10) < 8
        together, grad = jax.value_and_grad(
            lambda x, p=padded, o=options, r=rows: policy_loss(x, *p[1:], o, LENGTH, rows=r)[0]
        )(padded[0])
        np.testing.assert_allclose(together, alone, rtol=1e-14)
        assert np.all(grad[8:] == 0) and np.all(np.isfinite(grad))


def test_weights_scale_the_answers_loss():
    logps, old, ref, adv, mask, _, _ = inputs({"loss": "grpo"})
    options = LossOptions(beta=0.1)
    half, _ = policy_loss(logps, old, ref, adv, mask, options, LENGTH, weights=jnp.full(8, 0.5))
    full, _ = policy_loss(logps, old, ref, adv, mask, options, LENGTH)
    np.testing.assert_allclose(half, full / 2)


def test_groups_without_spread_can_be_freed_of_the_kl():
    logps, old, ref, adv, mask, _, _ = inputs({"loss": "grpo"})
    zero = jnp.arange(8) >= 4
    options = LossOptions(beta=0.1, kl_on_zero_std_groups=False)
    grad = jax.grad(lambda x: policy_loss(x, old, ref, adv * ~zero, mask, options, LENGTH, zero_std=zero)[0])(logps)
    assert np.all(grad[4:] == 0) and np.any(grad[:4] != 0)


def test_kl_is_precise_near_zero_and_bounded_far_away():
    near = kl_k3(jnp.float32(-1.0), jnp.float32(-1.0 + 1e-3))
    np.testing.assert_allclose(near, 0.5e-6, rtol=2e-3)


def test_what_is_missing_is_said():
    logps, old, ref, adv, mask, _, _ = inputs({"loss": "grpo"})
    for options, text in [
        (LossOptions(beta=0.1), "reference"),
        (LossOptions(beta=0.0, top_entropy_quantile=0.5), "entropies"),
        (LossOptions(beta=0.1, kl_on_zero_std_groups=False), "zero_std|reference"),
    ]:
        with pytest.raises(ValueError, match=text):
            policy_loss(logps, old, None, adv, mask, options, LENGTH)
    with pytest.raises(InputError, match="beta"):
        LossOptions(beta=-1.0)


def test_polarity_nll():
    logps = jnp.log(jnp.asarray([[0.5, 0.25], [0.1, 0.1], [0.5, 0.5]]))
    mask = jnp.asarray([[1, 1], [0, 0], [1, 0]])
    expected = 0.1 * (np.log(8) + np.log(2)) / 4
    np.testing.assert_allclose(polarity_nll(logps, mask, 0.1, 4), expected)
    grad = jax.grad(polarity_nll)(logps, mask, 0.1, 4)
    np.testing.assert_allclose(grad, np.asarray([[-0.025, -0.025], [0, 0], [-0.025, 0]]))
