"""What encoding takes, beside what the compiler says of it."""

import jax
import numpy as np
import pytest

from emsa_jax.planning.activations import Activations
from emsa_jax.policy.audio import encode_chunks
from emsa_jax.policy.inputs import InputShape, abstract_inputs
from emsa_jax.policy.parameter_table import abstract_params
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
