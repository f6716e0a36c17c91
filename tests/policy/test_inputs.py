"""Prompts and media in fixed shapes; what does not fit is refused."""

import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.policy.inputs import InputShape, build_inputs, smallest_shape
from emsa_jax.policy.positions import Grid
from emsa_jax.policy.prompt_row import Row, Visual


def test_media_and_placeholders_must_match(world):
    c = world.config
    mel, visual = np.zeros((40, 128), np.float32), Visual(np.zeros((24, 1176)), Grid(1, 4, 6))
    with pytest.raises(InputError, match="prompt 1 has 9 audio placeholders, but its media give 10"):
        build_inputs(c, [Row([1]), Row([c.audio_token_id] * 9, audios=[mel])])
    with pytest.raises(InputError, match="placeholders"):
        build_inputs(c, [Row([c.video_token_id] * 7, videos=[visual])])
    with pytest.raises(InputError, match="more images or videos"):
        build_inputs(c, [Row([c.video_token_id] * 6, videos=[visual] * 2)])


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
