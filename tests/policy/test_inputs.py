"""Prompts and media in fixed shapes; what does not fit is refused."""

from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.policy.inputs import InputShape, build_inputs, smallest_shape
from emsa_jax.policy.positions import Grid
from emsa_jax.policy.prompt_row import Row, Visual, expand


def test_media_and_placeholders_must_match(world):
    c = world.config
    mel, visual = np.zeros((40, 128), np.float32), Visual(np.zeros((24, 1176)), Grid(1, 4, 6))
    with pytest.raises(InputError, match="prompt 1 has 9 audio placeholders, but its media give 10"):
        build_inputs(c, [Row([1]), Row([c.audio_token_id] * 9, audios=[mel])])
    with pytest.raises(InputError, match="placeholders"):
        build_inputs(c, [Row([c.video_token_id] * 7, videos=[visual])])
    with pytest.raises(InputError, match="more images or videos"):
        build_inputs(c, [Row([c.video_token_id] * 6, videos=[visual] * 2)])


def test_chunks_are_no_longer_than_the_longest_sound(world):
    """What would be masked is not computed, and the tokens stay as they are."""
    mels = [np.random.default_rng(i).standard_normal((n, 128)).astype(np.float32) for i, n in enumerate((30, 17, 9))]
    rows = [Row(expand(world.config, [1, world.config.audio_token_id], [mel]), [mel]) for mel in mels]
    tight = smallest_shape(world.config, rows)
    assert tight.chunk_frames == 32 and tight.chunks == 3
    found = {}
    for frames in (32, 40, 0):
        inputs = build_inputs(world.config, rows, replace(tight, chunk_frames=frames))
        assert inputs.mel.shape[1] == (frames or 2 * world.config.audio.n_window)
        table = np.asarray(world.audio_tokens(world.params["audio"], inputs))
        found[frames] = table[inputs.media_index[inputs.media_index >= 0]]
    np.testing.assert_allclose(found[32], found[0], atol=1e-5)
    np.testing.assert_allclose(found[40], found[0], atol=1e-5)
    assert len(found[0]) == 7 + 4 + 2 and np.abs(found[0]).max() > 0.1
    with pytest.raises(InputError, match="needs chunk_frames 32, but its shape has 28"):
        build_inputs(world.config, rows, replace(tight, chunk_frames=28))
    long = [np.zeros((2 * world.config.audio.n_window + 5, 128), np.float32)]
    rows = [Row(expand(world.config, [world.config.audio_token_id], long), long)]
    assert smallest_shape(world.config, rows).chunk_frames == 0  # it fills a chunk
    with pytest.raises(InputError, match="needs chunk_frames"):
        build_inputs(world.config, rows, replace(smallest_shape(world.config, rows), chunk_frames=32))


def test_a_batch_that_exceeds_its_budget_is_refused(world):
    rows = world.rows("mix")
    need = smallest_shape(world.config, rows)
    build_inputs(world.config, rows, need)
    for field in ("prompt", "chunks", "patch_rows", "patch_row"):
        small = InputShape(**{**vars(need), field: getattr(need, field) - (4 if field == "patch_row" else 1)})
        with pytest.raises(InputError, match=f"needs {field} "):
            build_inputs(world.config, rows, small)


def test_frames_share_a_row_where_the_budget_allows(world):
    rows = world.rows(([1, ("video", (3, 4, 4), 1.0), 1],))
    inputs = build_inputs(world.config, rows, InputShape(40, 0, 1, 48))
    assert (inputs.frame >= 0).all() and len(np.unique(inputs.frame)) == 3


def test_a_row_of_patches_holds_whole_blocks(world):
    with pytest.raises(InputError, match="patch_row.*multiple of 4"):
        build_inputs(world.config, world.rows(([1, ("image", (1, 2, 2)), 1],)), InputShape(40, 0, 2, 6))
