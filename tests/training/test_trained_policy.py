"""What a stage trains."""

from types import SimpleNamespace

import pytest

from emsa_jax.errors import InputError
from emsa_jax.policy.lora import Adapter
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.training.trained_policy import warn_of_unseen_towers

ALL = ("text", "audio", "video")
SEEN = [SimpleNamespace(num_frames=4, mel_frames=0), SimpleNamespace(num_frames=0, mel_frames=80)]


def warned(weights, whole=(), entries=SEEN, modalities=ALL, dropout=None, strict=False):
    adapter = Adapter(dict.fromkeys(weights, {}), 1.0, dict.fromkeys(whole, {}))
    options = SimpleNamespace(
        prompt=PromptOptions(modalities=modalities), modality_dropout=dropout or {}, strict=strict
    )
    return warn_of_unseen_towers("grpo", adapter, SimpleNamespace(entries=entries), options)


@pytest.mark.parametrize(
    "given, why",
    [
        ({"weights": ["audio"], "entries": SEEN[:1]}, "no clip of the training set has any"),
        ({"weights": ["text", "audio"], "modalities": ("text", "video")}, "prompt.modalities leaves audio out"),
        ({"weights": ["text"], "whole": ["vision"], "modalities": ("text",)}, "prompt.modalities leaves video out"),
        ({"weights": ["vision"], "dropout": {"video": 1.0}}, "modality_dropout.video is 1"),
    ],
)
def test_a_tower_that_nothing_is_shown_to_is_told(capsys, given, why):
    (line,) = warned(**given)
    assert why in line and "lora.targets" in line and f"warning: {line}\n" == capsys.readouterr().out
    with pytest.raises(InputError, match="strict=True"):
        warned(**given, strict=True)


def test_towers_that_see_something_are_not_told(capsys):
    assert warned(["text", "audio", "vision"], ["audio"], dropout={"video": 0.9}) == ()
    assert warned(["text"], entries=[], modalities=("text",)) == () and capsys.readouterr().out == ""
