"""Packing, placeholders and patches; and what does not fit is said."""

from types import SimpleNamespace

import numpy as np
import pytest
from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor as Processor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from emsa_jax.errors import InputError
from emsa_jax.policy.inputs import Budget, Row, Visual, build_inputs, expand, needed_budget, patchify
from emsa_jax.policy.positions import Grid, audio_video_chunks, num_audio_tokens


def test_patches_of_an_image():
    frame = np.random.default_rng(0).integers(0, 256, (56, 84, 3), np.uint8)
    theirs = Qwen2VLImageProcessorPil()(frame, do_resize=False, return_tensors="np")
    ours = patchify(WORLDLESS, frame[None], is_video=False)
    np.testing.assert_allclose(ours.patches, theirs["pixel_values"], atol=1e-6)
    assert (ours.grid.t, ours.grid.h, ours.grid.w) == tuple(theirs["image_grid_thw"][0])
    assert not ours.grid.is_video


def test_patches_of_a_video_pair_frames_in_time():
    frames = np.random.default_rng(0).integers(0, 256, (3, 28, 56, 3), np.uint8)
    got = patchify(WORLDLESS, frames, seconds=0.5)
    assert (got.grid.t, got.grid.h, got.grid.w, got.grid.seconds) == (2, 2, 4, 0.5)
    both = got.patches.reshape(2, 8, 3, 2, 14, 14)  # time, patch, channel, frame of the pair, row, column
    for t, pair in enumerate([(0, 1), (2, 2)]):  # the odd last frame is shown twice
        for f, index in enumerate(pair):
            alone = patchify(WORLDLESS, frames[index : index + 1]).patches.reshape(8, 3, 2, 14, 14)
            np.testing.assert_array_equal(both[t, :, :, f], alone[:, :, 0])


@pytest.mark.parametrize("shape", [(2, 30, 28, 3), (2, 28, 27, 3), (0, 28, 28, 3)])
def test_frames_of_other_sizes_are_refused(shape):
    with pytest.raises(InputError, match="multiples of 28"):
        patchify(WORLDLESS, np.zeros(shape, np.uint8))


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


def test_expand_writes_as_many_placeholders_as_tokens(world):
    c = world.config
    mel, visual = np.zeros((453, 128), np.float32), Visual(np.zeros((24, 1176)), Grid(1, 4, 6))
    got = expand(c, [1, c.audio_token_id, 2, c.video_token_id, c.image_token_id, 3], [mel], [visual], [visual])
    assert got == [1] + [c.audio_token_id] * 113 + [2] + [c.video_token_id] * 6 + [c.image_token_id] * 6 + [3]
    got = expand(c, [1, c.video_token_id, 3], [mel[:8]], videos=[visual], audio_in_video=True)
    assert got == [1, c.audio_start_token_id, *[c.video_token_id] * 6, *[c.audio_token_id] * 2, c.audio_end_token_id, 3]


def test_media_and_placeholders_must_match(world):
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
    with pytest.raises(InputError, match="prompt 1 has 9 audio placeholders, but its media give 10"):
        build_inputs(c, [Row([1]), Row([c.audio_token_id] * 9, audios=[mel])])
    with pytest.raises(InputError, match="placeholders"):
        build_inputs(c, [Row([c.video_token_id] * 7, videos=[visual])])
    with pytest.raises(InputError, match="more images or videos"):
        build_inputs(c, [Row([c.video_token_id] * 6, videos=[visual] * 2)])


def test_a_batch_that_exceeds_its_budget_is_refused(world):
    rows = world.rows("mix")
    need = needed_budget(world.config, rows)
    build_inputs(world.config, rows, need)
    for field in ("prompt", "chunks", "patch_rows", "patch_row"):
        small = Budget(**{**vars(need), field: getattr(need, field) - (4 if field == "patch_row" else 1)})
        with pytest.raises(InputError, match=f"needs {field} "):
            build_inputs(world.config, rows, small)


def test_frames_share_a_row_where_the_budget_allows(world):
    rows = world.rows(([1, ("video", (3, 4, 4), 1.0), 1],))
    inputs = build_inputs(world.config, rows, Budget(40, 0, 1, 48))
    assert (inputs.frame >= 0).all() and len(np.unique(inputs.frame)) == 3


def test_a_row_of_patches_holds_whole_blocks(world):
    with pytest.raises(InputError, match="patch_row.*multiple of 4"):
        build_inputs(world.config, world.rows(([1, ("image", (1, 2, 2)), 1],)), Budget(40, 0, 2, 6))


WORLDLESS = SimpleNamespace(
    vision=SimpleNamespace(patch_size=14, spatial_merge_size=2, temporal_patch_size=2, patch_dim=1176)
)
