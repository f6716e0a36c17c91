"""The audio and vision towers alone, and how media are packed into their tables."""

import numpy as np
import pytest
import torch

from emsa_jax.policy.inputs import InputShape, build_inputs, smallest_shape

TOLERANCE = 1e-4


def audio_tokens(world, inputs):
    return np.asarray(world.audio_tokens(world.params["audio"], inputs))


def visual_tokens(world, inputs):
    return np.asarray(world.visual_tokens(world.params["vision"], inputs))


def picked(inputs, table, token, offset=0):
    """The table's rows that stand in for a placeholder, in reading order."""
    return table[inputs.media_index[inputs.tokens == token] - offset]


@pytest.mark.parametrize("case", ["audio", "audio_lengths"])
def test_audio_tower(world, case):
    x, inputs = world.torch_inputs(world.rows(case)), world.inputs(case)
    with torch.no_grad():
        theirs = world.model.get_audio_features(x["input_features"], x["feature_attention_mask"], return_dict=True)
    ours = picked(inputs, audio_tokens(world, inputs), world.config.audio_token_id)
    np.testing.assert_allclose(ours, theirs.last_hidden_state.numpy(), atol=TOLERANCE)


def test_mel_beyond_the_end_is_never_read(world):
    inputs = world.inputs("audio_lengths")
    beyond = np.arange(inputs.mel.shape[1])[None, :, None] >= inputs.mel_length[:, None, None]
    loud = inputs.replace(mel=np.where(beyond, np.float32(1e4), inputs.mel))
    token = world.config.audio_token_id
    np.testing.assert_array_equal(
        picked(inputs, audio_tokens(world, loud), token), picked(inputs, audio_tokens(world, inputs), token)
    )


def visual_reference(world, case):
    """transformers' visual tokens in the order in which placeholders appear, per kind."""
    x, out = world.torch_inputs(world.rows(case)), {}
    for kind, suffix in (("image", ""), ("video", "_videos")):
        if "pixel_values" + suffix in x:
            with torch.no_grad():
                got = getattr(world.model, f"get_{kind}_features")(
                    x["pixel_values" + suffix], x[f"{kind}_grid_thw"], return_dict=True
                )
            out[getattr(world.config, f"{kind}_token_id")] = torch.cat(list(got.pooler_output)).numpy()
    return out


@pytest.mark.parametrize("case", ["image", "video", "mix"])
@pytest.mark.parametrize("packing", ["tight", "roomy"])
def test_vision_tower(world, case, packing):
    """In rows as long as the largest frame, and with many frames of different sizes sharing a row."""
    rows = world.rows(case)
    budget = world.budget if packing == "tight" else InputShape(world.budget.prompt, world.budget.chunks, 2, 640)
    inputs = build_inputs(world.config, rows, budget)
    assert inputs.patches.shape[:2] == (budget.patch_rows, budget.patch_row)
    frames_in_row = max(len(np.unique(r[r >= 0])) for r in inputs.frame)
    assert packing == "tight" or frames_in_row > 2
    table, offset = visual_tokens(world, inputs), len(inputs.audio_pairs)
    for token, theirs in visual_reference(world, case).items():
        np.testing.assert_allclose(picked(inputs, table, token, offset), theirs, atol=TOLERANCE)


def test_attention_segments_are_ragged_windows_and_frames(world):
    """Segments by counting: windows of at most side x side tokens, frames of their whole size, never across time."""
    rows = world.rows("video")
    inputs = build_inputs(world.config, rows, InputShape(smallest_shape(world.config, rows).prompt, 0, 2, 640))
    side = world.config.vision.window_size // 28
    grids = [v.grid for r in rows for v in r.videos]
    used = inputs.frame[inputs.frame >= 0]
    assert len(used) == sum(g.t * g.h * g.w for g in grids)
    assert len(np.unique(used)) == sum(g.t for g in grids)
    windows = np.unique(inputs.window[inputs.window >= 0], return_counts=True)[1]
    expected = [
        4 * min(side, g.h // 2 - i) * min(side, g.w // 2 - j)
        for g in grids
        for _ in range(g.t)
        for i in range(0, g.h // 2, side)
        for j in range(0, g.w // 2, side)
    ]
    assert sorted(windows) == sorted(expected)
    assert (inputs.patches[inputs.frame < 0] == 0).all()
