"""The prompt that a plan is made for."""

from dataclasses import replace

import pytest

from emsa_jax.errors import InputError
from emsa_jax.planning.longest_prompt import longest_prompt
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.policy.thinker_config import ClipConfig, preset


def test_the_longest_prompt_is_what_was_asked_for():
    shape, one = longest_prompt(PromptShape(), preset("7B"), 3)
    assert one.tokens.shape == (1, 1536) and one.mask.all()
    assert (shape.prompt, shape.chunks, shape.patch_rows, shape.patch_row) == (1536, 15, 12, 1024)
    media = (one.media_index >= 0).sum()
    assert media == 1024 + 250  # 4 x 32 x 32 patches in blocks of 4; 25 tokens a second
    with pytest.raises(InputError, match="frames and sound alone make 1274"):
        longest_prompt(PromptShape(tokens=1274), preset("7B"), 1)
    text, _ = longest_prompt(PromptShape(100, 0, 0, 0, 0), preset("7B"), 3)
    assert (text.chunks, text.patch_rows) == (0, 0)


def test_towers_that_a_policy_does_not_have_take_nothing():
    """And CLIP's tokens are one a frame, in rows of one frame."""
    deaf = replace(preset("7B"), audio=None, vision=ClipConfig())
    shape, one = longest_prompt(PromptShape(), deaf, 3)
    frames = PromptShape().frames
    assert (shape.chunks, shape.patch_rows, shape.patch_row) == (0, 3 * frames, 256)
    assert (one.media_index >= 0).sum() == frames
    blind, one = longest_prompt(PromptShape(), replace(deaf, vision=None), 3)
    assert (blind.chunks, blind.patch_rows, (one.media_index >= 0).sum()) == (0, 0, 0)


@pytest.mark.parametrize(
    "field, value",
    [("frames", -1), ("height", 0), ("audio_seconds", -1.0), ("frames", 10**6), ("audio_seconds", 1e12), ("tokens", 0)],
)
def test_a_prompt_that_nobody_has_is_named(field, value):
    with pytest.raises(InputError, match=f"prompt.{field} must be "):
        PromptShape(**{field: value})
