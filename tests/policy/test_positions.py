"""How many tokens media have, and in which order."""

from types import SimpleNamespace

import numpy as np
import pytest
from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor as Processor

from emsa_jax.policy.positions import Grid, audio_video_chunks, num_audio_tokens


@pytest.mark.parametrize("frames", [3, 5, 6, 199, 200, 201, 263, 400, 453])
def test_number_of_audio_tokens(world, frames):
    theirs = world.model.model.audio_tower._get_feat_extract_output_lengths(np.array([frames]))[1]
    assert num_audio_tokens(frames) == theirs[0]


@pytest.mark.parametrize("seed", range(6))
def test_interleaving_is_the_processors(world, seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        grid = Grid(
            int(rng.integers(1, 8)),
            2 * int(rng.integers(1, 4)),
            2 * int(rng.integers(1, 4)),
            float(rng.choice([0.08, 0.25, 0.5, 1.0, 2.0, 4.0])),
        )
        frames = int(rng.integers(3, 700))
        stub = SimpleNamespace(
            video_processor=SimpleNamespace(merge_size=2),
            audio_bos_token="[",
            audio_eos_token="]",
            audio_token="a",
            video_token="v",
        )
        stub.get_chunked_index = lambda *args: Processor.get_chunked_index(None, *args)
        text = Processor.replace_video_with_audio_token(
            stub,
            {"video_grid_thw": np.array([[grid.t, grid.h, grid.w]]), "video_second_per_grid": [grid.seconds]},
            0,
            {"num_audio_tokens": [num_audio_tokens(frames)]},
            0,
            position_id_per_seconds=world.config.position_id_per_seconds,
            seconds_per_chunk=world.config.seconds_per_chunk,
        )
        ours = "".join(
            {"video": "v", "audio": "a"}[kind] * n for kind, n in audio_video_chunks(world.config, grid, frames)
        )
        assert f"[{ours}]" == text
