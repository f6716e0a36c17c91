"""HuBERT against `transformers`: both styles, padded and alone, old and new names on disk."""

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import HubertConfig, HubertForCTC, HubertModel, Wav2Vec2FeatureExtractor

from emsa_jax.errors import InputError
from emsa_jax.policy import parts
from emsa_jax.policy.hubert import encode_hubert, normalise_waves, num_frames

LARGE = dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
RNG = np.random.default_rng(0)
WAVES = [(0.1 * RNG.standard_normal(n) + 0.03).astype(np.float32) for n in (2400, 1321)]


def make(seed=0, **fields):
    config = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, conv_dim=[12] * 7)
    config |= dict(num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, layer_norm_eps=1e-3) | fields
    model = HubertModel._from_config(HubertConfig(**config), attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            r = torch.randn(p.shape, generator=generator)
            norm = p.ndim == 1 and name.endswith("weight") or name.endswith("original0")
            p.copy_(1 + 0.2 * r if norm else r * (0.2 if p.ndim == 1 else 1.3 / p[0].numel() ** 0.5))
    return model.eval()


@pytest.fixture(scope="module", params=[{}, LARGE], ids=["base", "large"])
def model(request):
    return make(**request.param)


def test_states_equal(model, tmp_path):
    model.save_pretrained(tmp_path)
    extract = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    theirs = extract(WAVES, sampling_rate=16000, padding=True, return_tensors="pt")
    values, mask = normalise_waves(WAVES)
    np.testing.assert_allclose(values, theirs["input_values"], atol=1e-6)
    config, params = parts.read_hubert(tmp_path)
    run = jax.jit(encode_hubert, static_argnums=1)
    states, valid = run(params, config, values, mask)
    with torch.no_grad():
        wanted = model(**theirs).last_hidden_state.numpy()
        alone = model(theirs["input_values"][1:, :1321]).last_hidden_state[0].numpy()
    assert valid.sum(1).tolist() == [num_frames(config, len(wave)) for wave in WAVES] == [7, 3]
    np.testing.assert_allclose(np.asarray(states)[valid], wanted[np.asarray(valid)], atol=5e-5)
    short, _ = run(params, config, *normalise_waves(WAVES[1:]))
    np.testing.assert_allclose(short[0], alone, atol=5e-5)
    # only where the group norm runs over padding does a clip depend on what it is padded to
    assert np.allclose(short[0], states[1, :3], atol=1e-4) is model.config.do_stable_layer_norm


def test_old_names_under_a_head_are_the_same(model, tmp_path):
    whole = HubertForCTC(model.config)
    whole.hubert.load_state_dict(model.state_dict())
    model.save_pretrained(tmp_path / "plain")
    whole.save_pretrained(tmp_path / "head")
    file = tmp_path / "head" / "model.safetensors"
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    tensors = load_file(file)
    for new, was in old.items():
        tensors = {name.replace(new, was): tensor for name, tensor in tensors.items()}
    save_file(tensors, file)
    one, two = (parts.read_hubert(tmp_path / name) for name in ("plain", "head"))
    assert one[0] == two[0]
    jax.tree.map(np.testing.assert_array_equal, one[1], two[1])


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(feat_extract_norm="batch"), "feat_extract_norm"),
        (dict(conv_pos_batch_norm=True), "conv_pos_batch_norm"),
        (dict(num_conv_pos_embeddings=15), "even number"),
        (dict(num_conv_pos_embedding_groups=7), "num_conv_pos_embedding_groups"),
        (dict(num_hidden_layers=1), "encoder.layers.1"),
        (LARGE, "conv_layers"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, fields, words):
    model = make()
    model.save_pretrained(tmp_path)
    config = model.config
    config.update(fields)
    config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=words):
        parts.read_hubert(tmp_path)
