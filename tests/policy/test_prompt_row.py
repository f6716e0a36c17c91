"""Patches and placeholders of one prompt."""

from types import SimpleNamespace

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from emsa_jax.errors import InputError
from emsa_jax.policy.positions import Grid
from emsa_jax.policy.prompt_row import Visual, expand, patchify

PATCHES_OF_14 = SimpleNamespace(
    vision=SimpleNamespace(patch_size=14, spatial_merge_size=2, temporal_patch_size=2, patch_dim=1176)
)


def test_patches_of_an_image():
    frame = np.random.default_rng(0).integers(0, 256, (56, 84, 3), np.uint8)
    theirs = Qwen2VLImageProcessorPil()(frame, do_resize=False, return_tensors="np")
    ours = patchify(PATCHES_OF_14, frame[None], is_video=False)
    np.testing.assert_allclose(ours.patches, theirs["pixel_values"], atol=1e-6)
    assert (ours.grid.t, ours.grid.h, ours.grid.w) == tuple(theirs["image_grid_thw"][0])
    assert not ours.grid.is_video


def test_patches_of_a_video_pair_frames_in_time():
    frames = np.random.default_rng(0).integers(0, 256, (3, 28, 56, 3), np.uint8)
    got = patchify(PATCHES_OF_14, frames, seconds=0.5)
    assert (got.grid.t, got.grid.h, got.grid.w, got.grid.seconds) == (2, 2, 4, 0.5)
    both = got.patches.reshape(2, 8, 3, 2, 14, 14)  # time, patch, channel, frame of the pair, row, column
    for t, pair in enumerate([(0, 1), (2, 2)]):  # the odd last frame is repeated
        for f, index in enumerate(pair):
            alone = patchify(PATCHES_OF_14, frames[index : index + 1]).patches.reshape(8, 3, 2, 14, 14)
            np.testing.assert_array_equal(both[t, :, :, f], alone[:, :, 0])


@pytest.mark.parametrize("shape", [(2, 30, 28, 3), (2, 28, 27, 3), (0, 28, 28, 3)])
def test_frames_of_other_sizes_are_refused(shape):
    with pytest.raises(InputError, match="multiples of 28"):
        patchify(PATCHES_OF_14, np.zeros(shape, np.uint8))


def test_expand_writes_as_many_placeholders_as_tokens(world):
    c = world.config
    mel, visual = np.zeros((453, 128), np.float32), Visual(np.zeros((24, 1176)), Grid(1, 4, 6))
    got = expand(c, [1, c.audio_token_id, 2, c.video_token_id, c.image_token_id, 3], [mel], [visual], [visual])
    assert got == [1] + [c.audio_token_id] * 113 + [2] + [c.video_token_id] * 6 + [c.image_token_id] * 6 + [3]
    got = expand(c, [1, c.video_token_id, 3], [mel[:8]], videos=[visual], audio_in_video=True)
    assert got == [1, c.audio_start_token_id, *[c.video_token_id] * 6, *[c.audio_token_id] * 2, c.audio_end_token_id, 3]


def test_media_without_a_placeholder_or_the_reverse_are_refused(world):
    c = world.config
    mel, visual = np.zeros((40, 128), np.float32), Visual(np.zeros((24, 1176)), Grid(1, 4, 6))
    with pytest.raises(InputError, match="no audio left"):
        expand(c, [c.audio_token_id])
    with pytest.raises(InputError, match="no video left"):
        expand(c, [c.video_token_id], videos=[visual], audio_in_video=True)  # a silent video is no film
    with pytest.raises(InputError, match="1 audio.*2 image"):
        expand(c, [1], [mel], [visual, visual])
    with pytest.raises(InputError, match="at least 3"):
        expand(c, [c.audio_token_id], [mel[:2]])
