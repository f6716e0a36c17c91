"""Bridges as stages 1 and 2 write them, and under the published names."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from emsa_jax.errors import InputError
from emsa_jax.policy.bridge_files import FRESH, published_table, read_bridge, write_published
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.thinker_config import AudioConfig, BridgeConfig, ClipConfig, TextConfig, ThinkerConfig
from emsa_jax.training.bridge_options import BridgesOptions
from emsa_jax.training.bridges import fresh_bridge, save_bridge

CLIP = ClipConfig(hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=28,
                  out_hidden_size=16)  # fmt: skip
EAR = AudioConfig(d_model=8, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=12, output_dim=16)
TEXT = TextConfig(vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                  num_key_value_heads=1, mrope_section=(2, 1, 1), qkv_bias=False, qk_norm=True)  # fmt: skip
POLICY = ThinkerConfig(
    text=TEXT, audio=EAR, vision=CLIP, audio_bridge=BridgeConfig.after(EAR), vision_bridge=BridgeConfig.after(CLIP)
)


@pytest.fixture(scope="module")
def params():
    return init_params(POLICY, jax.random.key(0))


def test_what_a_stage_wrote_is_read(tmp_path):
    for kind, tower, positions in (("vecb", CLIP, 5), ("aecb", EAR, 0)):
        options = BridgesOptions(kind=kind, seed=3)
        config = BridgeConfig.after(tower, num_hidden_layers=3, positions=positions, output_size=4, text_size=6)
        trained = fresh_bridge(options, config)
        save_bridge(tmp_path / kind, config, trained, {"kind": kind})
        found = read_bridge(str(tmp_path / kind), tower, 16, 0)
        assert (found.config.num_hidden_layers, found.config.positions) == (3, positions) and found.proj is None
        jax.tree.map(np.testing.assert_array_equal, found.params, trained["bridge"])
        other = replace(tower, **{"hidden_size" if kind == "vecb" else "d_model": 4})
        with pytest.raises(InputError, match="this bridge is 8 wide with 2 heads, but the tower wants 4 and 2"):
            read_bridge(str(tmp_path / kind), other, 16, 0)
    with pytest.raises(InputError, match="one for sound"):
        read_bridge(str(tmp_path / "aecb"), CLIP, 16, 0)


def test_published_names_go_out_and_come_back(tmp_path, params):
    write_published(tmp_path / "out", POLICY, params)
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert {name.split(".")[0] for name in tensors} == {
        "visual_encoder", "audio_encoder", "visual_llm_project", "audio_llm_project"
    }  # fmt: skip
    assert "visual_encoder.visual_alignment_layer.1.self_attn.q_proj.weight" in tensors
    assert len(tensors) == sum(spec.layers or 1 for spec in published_table(POLICY))
    # a whole checkpoint holds the encoders and the language model beside them
    save_file(tensors | {"llm_model.x": np.ones(1), "audio_encoder.audio_encoder.x": np.ones(1)}, tmp_path / "whole")
    (tmp_path / "published").mkdir()
    (tmp_path / "whole").rename(tmp_path / "published/model.safetensors")
    for tower, encoder in (("audio", EAR), ("vision", CLIP)):
        found = read_bridge(str(tmp_path / "published"), encoder, 16, 0)
        jax.tree.map(np.testing.assert_array_equal, found.params, params[tower]["bridge"])
        jax.tree.map(np.testing.assert_array_equal, found.proj, params[tower]["proj"])
    with pytest.raises(InputError, match="visual_llm_project.weight has shape"):
        read_bridge(str(tmp_path / "published"), CLIP, 32, 0)


def test_a_directory_without_a_bridge_is_named(tmp_path):
    save_file({"x": np.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="no tensors of a bridge behind audio_encoder"):
        read_bridge(str(tmp_path), EAR, 16, 0)
    with pytest.raises(InputError, match="has no bridge"):
        write_published(tmp_path / "none", replace(POLICY, audio_bridge=None, vision_bridge=None), {})


def test_a_fresh_bridge_follows_its_seed():
    one, same, other = (read_bridge(FRESH, CLIP, 16, seed) for seed in (0, 0, 1))
    assert one.config == BridgeConfig.after(CLIP) and one.proj is None
    jax.tree.map(np.testing.assert_array_equal, one.params, same.params)
    assert np.any(one.params["position_embedding"] != other.params["position_embedding"])
