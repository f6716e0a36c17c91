"""What encoding takes, beside what the compiler says of it."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from emsa_jax.planning.activations import Activations
from emsa_jax.policy.audio import encode_chunks
from emsa_jax.policy.inputs import InputShape, abstract_inputs
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.parameter_table import abstract_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import AudioConfig, ThinkerConfig, VisionConfig
from tests.planning.conftest import here

AUDIO = AudioConfig(
    d_model=128, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=512, n_window=300, output_dim=3584
)


@pytest.mark.parametrize("chunks, frames", [(6, 0), (12, 0), (12, 300)])
def test_sound_takes_what_the_compiler_says(chunks, frames):
    """Within a tenth below and a half above: more would cost the user batches that fit."""
    policy = ThinkerConfig(audio=AUDIO, vision=VisionConfig(depth=1, hidden_size=64, num_heads=4))
    shape = InputShape(16, chunks=chunks, chunk_frames=frames)
    inputs = abstract_inputs(policy, shape, 2)
    sizes = Activations(policy, here(policy), "float32")
    assert sizes.inputs(shape) == inputs.mel.nbytes + inputs.patches.nbytes
    params = abstract_params(policy, np.float32)["audio"]
    run = jax.jit(lambda p, mel, length: encode_chunks(p, None, AUDIO, mel, length))
    used = run.lower(params, inputs.mel, inputs.mel_length).compile().memory_analysis().temp_size_in_bytes
    assert 0.9 * used < sizes.encode(2, shape)["activations"] < 1.5 * used


def test_a_tower_that_learns_leaves_what_the_compiler_says():
    """All of its layers' arrays until the backward pass, where encoding alone holds those of one."""
    tower = replace(AUDIO, encoder_layers=8)
    policy, shape = ThinkerConfig(audio=tower, vision=None), InputShape(16, chunks=6, chunk_frames=300)
    inputs, params = abstract_inputs(policy, shape, 2), abstract_params(policy, np.float32)["audio"]
    adapter = abstract_adapter(policy, LoraOptions(4, 8.0, ("audio.q_proj", "audio.fc1", "audio.fc2")))

    def loss(adapter, params, mel, length):
        return encode_chunks(params, adapter, tower, mel, length).sum()

    run = jax.jit(jax.grad(loss)).lower(adapter, params, inputs.mel, inputs.mel_length)
    used, sizes = run.compile().memory_analysis().temp_size_in_bytes, Activations(policy, here(policy), "float32")
    told = sizes.behind_towers(shape, {"audio"}) + sizes.encode(2, shape)["activations"]
    assert 0.85 * used < told < 1.15 * used
    assert sizes.behind_towers(shape, {"vision"}) == sizes.behind_towers(replace(shape, encoded="x"), {"audio"}) == 0
