"""BERT against `transformers`: states, gradients, names on disk, and what is dropped in training."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel

from emsa_jax.errors import InputError
from emsa_jax.policy import parts
from emsa_jax.policy.bert import bert_embeddings, bert_layers, encode_bert
from tests.policy.test_parts import randomize

IDS = np.array([[2, 9, 17, 5, 3], [2, 30, 3, 0, 0]], np.int32)
MASK = IDS > 0
SEGMENTS = np.array([[0, 0, 0, 1, 1], [0, 1, 1, 0, 0]], np.int32)


def tiny(**fields):
    return BertConfig(
        **dict(
            vocab_size=40,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=40,
            max_position_embeddings=16,
            layer_norm_eps=1e-3,
        )
        | fields
    )


@pytest.fixture(scope="module")
def model():
    return randomize(BertModel._from_config(tiny(), attn_implementation="eager"), 1)


@pytest.fixture(scope="module")
def directory(model, tmp_path_factory):
    where = tmp_path_factory.mktemp("bert")
    model.save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def ours(directory):
    return parts.read_bert(directory)


def theirs(model):
    inputs = (torch.tensor(x, dtype=torch.long) for x in (IDS, MASK, SEGMENTS))
    return model(**dict(zip(("input_ids", "attention_mask", "token_type_ids"), inputs, strict=True))).last_hidden_state


def test_states_equal_also_at_padding(model, ours):
    config, params = ours
    found = encode_bert(params, config, IDS, MASK, SEGMENTS)
    np.testing.assert_allclose(found, theirs(model).detach(), atol=2e-5)
    # what stands in padding does not reach what is valid
    other = np.where(MASK, IDS, 7)
    again = encode_bert(params, config, other, MASK, SEGMENTS)
    np.testing.assert_array_equal(np.asarray(again)[MASK], np.asarray(found)[MASK])
    assert not np.array_equal(again, found)


def test_the_first_segment_is_the_default(ours):
    config, params = ours
    zeros = np.zeros_like(SEGMENTS)
    np.testing.assert_array_equal(encode_bert(params, config, IDS, MASK), encode_bert(params, config, IDS, MASK, zeros))


def test_gradients_equal(model, ours):
    config, params = ours
    wanted = np.random.default_rng(0).standard_normal((2, 5, 24)).astype(np.float32)
    names = ("embeddings.word_embeddings.weight", "encoder.layer.1.attention.self.key.weight")
    names += ("encoder.layer.0.output.LayerNorm.bias", "embeddings.token_type_embeddings.weight")
    weights = [model.get_parameter(name) for name in names]
    expected = torch.autograd.grad((theirs(model) * torch.tensor(wanted)).sum(), weights)
    loss = jax.jit(jax.grad(lambda p: (encode_bert(p, config, IDS, MASK, SEGMENTS) * wanted).sum()))
    grads = loss(params)
    layers = grads["layers"]
    found = [grads["word_embeddings"], layers["k_proj"]["weight"][1], layers["norm2"]["bias"][0]]
    for name, a, b in zip(names, [*found, grads["token_type_embeddings"]], expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * float(b.abs().max()), err_msg=name)


def test_a_model_under_a_head_with_old_names_of_norms_is_the_same(model, ours, tmp_path):
    whole = BertForMaskedLM._from_config(tiny(), attn_implementation="eager")
    whole.bert.load_state_dict(model.state_dict(), strict=False)
    whole.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, was in old.items():
        tensors = {name.replace(new, was): tensor for name, tensor in tensors.items()}
    save_file(tensors | {"bert.embeddings.position_ids": np.arange(16)[None]}, tmp_path / "model.safetensors")
    config, params = parts.read_bert(tmp_path)
    assert config == ours[0]
    jax.tree.map(np.testing.assert_array_equal, params, ours[1])


def test_dropout_drops_at_its_rates_and_nothing_without_a_key(ours):
    config, params = ours
    hidden, weights = (
        replace(config, hidden_dropout_prob=rates[0], attention_probs_dropout_prob=rates[1])
        for rates in ((0.5, 0.0), (0.0, 0.5))
    )
    rest = replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    key, still = jax.random.key(3), encode_bert(params, config, IDS, MASK)
    np.testing.assert_allclose(encode_bert(params, rest, IDS, MASK, key=key), still, atol=1e-5)
    x = bert_embeddings(params, config, IDS)
    many = bert_embeddings(params, hidden, np.tile(IDS, (200, 1)), key=key).reshape(200, *x.shape)
    assert abs(float((many == 0).mean()) - 0.5) < 0.02
    np.testing.assert_allclose(many.mean(0), x, atol=0.5 * float(jnp.abs(x).max()))
    np.testing.assert_allclose(np.where(many == 0, 2 * x, many), np.broadcast_to(2 * x, many.shape), rtol=1e-5)
    for changed in (hidden, weights):
        one, two = (bert_layers(params, changed, x, MASK, jax.random.key(seed)) for seed in (0, 1))
        assert not np.allclose(one, two) and np.isfinite(one).all()


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(hidden_act="relu"), "hidden_act"),
        (dict(is_decoder=True), "is_decoder"),
        (dict(num_attention_heads=5), "hidden_size"),
        (dict(num_hidden_layers=3), "encoder.layer.2"),
        (dict(num_hidden_layers=1), "encoder.layer.1"),
        (dict(hidden_size=48), "has shape"),
    ],
)
def test_what_does_not_fit_is_named(model, tmp_path, fields, words):
    model.save_pretrained(tmp_path)
    tiny(**fields).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=words):
        parts.read_bert(tmp_path)
