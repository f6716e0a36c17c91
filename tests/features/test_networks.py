import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.features.almt import ALMTOptions
from emsa_jax.features.dlf import DLFOptions
from emsa_jax.features.mag_bert import MAGOptions
from emsa_jax.features.misa import MISAOptions
from emsa_jax.features.mult import MulTOptions
from emsa_jax.features.networks import Batch, Network
from emsa_jax.features.recipes import RECIPES
from emsa_jax.features.state_dict import from_state_dict, to_state_dict, trained_shapes, trained_tensors
from emsa_jax.policy.encoder_tables import bert_table
from emsa_jax.policy.parameter_table import init_table
from emsa_jax.policy.thinker_config import BertConfig

BERT = BertConfig(
    vocab_size=60,
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=16,
)
NETWORKS = {
    "mult": (MulTOptions(8, 2, 1, (3, 1, 2)), None),
    "mag_bert": (MAGOptions(), BERT),
    "misa": (MISAOptions(6, 0.2), BERT),
    "almt": (ALMTOptions(8, 2, (1, 1, 1), (6, 6, 6), 1, 2, 1, 2, 3), BERT),
    "dlf": (DLFOptions(8, 2, 1, (3, 3, 3)), BERT),
}


def network_of(name):
    options, bert = NETWORKS[name]
    return Network(name, options, bert)


def batch_of(network, rows=3):
    rng = np.random.default_rng(0)
    mask = np.ones((rows, 7), np.float32)
    mask[1, 5:] = 0
    text = rng.normal(size=(rows, 7, 8)).astype(np.float32)
    if network.bert:
        text = np.stack([rng.integers(1, 60, (rows, 7)), mask.astype(int), 0 * mask.astype(int)], axis=1)
    audio, vision = (rng.normal(size=(rows, t, d)).astype(np.float32) for t, d in ((9, 5), (8, 4)))
    labels = np.array([[0.5], [0.5], [-0.5], [0.2], [-0.9]], np.float32)[:rows]
    return Batch(text, mask, audio, vision, labels, np.ones(rows, np.float32))


def params_of(network, batch):
    params = network.init(jax.random.key(0), batch)
    return params | (init_table(list(bert_table(network.bert)), jax.random.key(1)) if network.bert else {})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_dict_comes_back_and_names_what_does_not_fit(name):
    network = network_of(name)
    batch = batch_of(network)
    params = params_of(network, batch)
    state = to_state_dict(network, batch, params)
    back = from_state_dict(network, batch, state)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), back, params))
    assert state.keys() == trained_tensors(network, params).keys() | network.unused(batch).keys()
    first = sorted(trained_tensors(network, params))[0]
    for wrong, word in (
        ({n: v for n, v in state.items() if n != first}, f"no {first}"),
        (state | {first: np.zeros((1, 2, 3))}, rf"{first} has shape \[1, 2, 3\]"),
        (state | {"more.weight": np.zeros(1)}, "more.weight"),
    ):
        with pytest.raises(InputError, match=word):
            from_state_dict(network, batch, wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mag_bert", "misa"])
def test_rows_that_fill_up_a_batch_count_for_nothing(name):
    network = network_of(name)
    batch = batch_of(network, 5).replace(weight=np.array([1, 1, 1, 0, 0], np.float32))
    params = params_of(network, batch)
    both = jax.jit(lambda p, b: jax.value_and_grad(lambda p: network.losses(p, b)["total"])(p))
    other = jax.tree.map(lambda leaf: np.concatenate([leaf[:3], leaf[:2]]), batch)
    other = other.replace(labels=np.append(batch.labels[:3], [[9], [0.1]], 0).astype(np.float32), weight=batch.weight)
    (loss, grads), (other_loss, other_grads) = both(params, batch), both(params, other)
    np.testing.assert_allclose(loss, other_loss, atol=2e-6)
    largest = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), grads, other_grads)
    assert max(jax.tree.leaves(largest)) < 2e-5
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads)) > 1e-2
    counted = both(params, other.replace(weight=np.ones(5, np.float32)))[0]
    assert abs(float(counted - loss)) > 1e-2


def test_networks_with_and_without_bert_are_told_apart():
    with pytest.raises(InputError, match="config.bert"):
        Network("mag_bert", MAGOptions())
    with pytest.raises(InputError, match="leave config.bert empty"):
        Network("mult", MulTOptions(), BERT)
    misa = Network("misa", MISAOptions(6, 0.0))
    features = batch_of(Network("misa", MISAOptions(6, 0.0)))
    assert "bert" not in misa.init(jax.random.key(0), features)
    assert misa.outputs(misa.init(jax.random.key(0), features), features)["M"].shape == (3, 1)


def test_the_task_loss_is_absolute_or_squared():
    predictions, labels = jnp.array([[1.0], [-1.0]]), jnp.array([[0.5], [1.0]])
    assert network_of("mult").errors(predictions, labels).tolist() == [0.5, 2.0]
    assert network_of("almt").errors(predictions, labels).tolist() == [0.25, 4.0]


def test_real_sizes_have_as_many_parameters_as_the_public_code():
    def batch(text, audio, vision, bert):
        zero = lambda *shape: np.zeros((1, *shape), np.float32)  # noqa: E731
        given = np.zeros((1, 3, text), int) if bert else zero(text, 768)
        return Batch(given, zero(text), zero(*audio), zero(*vision), zero(1), np.ones(1, np.float32))

    def count(network, batch):
        shapes = [*trained_shapes(network, batch).values(), *network.unused(batch).values()]
        return sum(math.prod(shape) for shape in shapes)

    chinese, english = BertConfig(vocab_size=21128), BertConfig()
    sims, mosi = ((39, (400, 33), (55, 709)), (50, (375, 5), (500, 20)))
    aligned = (50, (50, 5), (50, 20))
    for name, dataset, sizes, bert, expected in (
        ("mult", "sims", sims, None, 1_870_701),
        ("mult", "mosi", mosi, None, 2_571_551),
        ("misa", "sims", sims, chinese, 123_932_397),
        ("misa", "mosi", aligned, english, 110_620_273),
        ("mag_bert", "sims", sims, chinese, 104_592_385),
        ("mag_bert", "mosi", aligned, english, 110_705_665),
        ("almt", "sims", sims, chinese, 105_500_545),
        ("almt", "mosi", mosi, english, 112_085_889),
        ("dlf", "mosi", aligned, english, 112_405_548),
    ):
        network = Network(name, RECIPES[name, dataset].options, bert)
        assert count(network, batch(*sizes, bert)) == expected, (name, dataset)
