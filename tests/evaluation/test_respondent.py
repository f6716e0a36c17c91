"""Edited clips have what they are to have of each other, and nothing of what was left out."""

from types import SimpleNamespace

import numpy as np
import pytest

from emsa_jax.data.records import Clip, Entry, Manifest
from emsa_jax.data.views import modalities
from emsa_jax.errors import InputError
from emsa_jax.evaluation.respondent import Edited, PolicyRespondent, edited_split
from emsa_jax.rollout.prompted_data import Split


def clip(i):
    shape = (2 + i, 56, 56 + 28 * i, 3)
    return Clip(
        id=str(i),
        text=f"words {i}",
        score=0.1 * i,
        split="test",
        language="en",
        frames=np.full(shape, i, np.uint8),
        frame_rate=1.0 + i,
        mel=np.full((10 + i, 128), i, np.float32),
    )


def entry(of):
    return Entry(
        id=of.id,
        text=of.text,
        score=of.score,
        split=of.split,
        language=of.language,
        num_frames=len(of.frames),
        height=of.frames.shape[1] if len(of.frames) else 0,
        width=of.frames.shape[2] if len(of.frames) else 0,
        frame_rate=of.frame_rate,
        mel_frames=len(of.mel),
    )


CLIPS = [clip(i) for i in range(3)]
SPLIT = Split(
    manifest=Manifest.__new__(Manifest),
    prompter=SimpleNamespace(length=lambda entry: len(entry.text) + entry.num_frames + entry.mel_frames),
    entries=[entry(one) for one in CLIPS],
    lengths=np.zeros(3),
    source=CLIPS[::-1],
    order=np.array([2, 1, 0]),
)


@pytest.mark.parametrize(
    ("modality", "changed"),
    [("text", {"text"}), ("audio", {"mel"}), ("video", {"frames", "frame_rate"})],
)
def test_one_modality_is_taken_from_another_clip(modality, changed):
    made = Edited(0, ((modality, 2),)).of(CLIPS)
    for name in ("text", "mel", "frames", "frame_rate", "id", "score"):
        expected = getattr(CLIPS[2 if name in changed else 0], name)
        np.testing.assert_array_equal(getattr(made, name), expected)


@pytest.mark.parametrize("edit", [Edited(0, (("video", 2),)), Edited(1, removed=("audio",)), Edited(2, (("text", 0),))])
def test_the_index_says_what_the_clips_are(edit):
    split = edited_split(SPLIT, [Edited(1), edit])
    made = split[1]
    for name in ("text", "num_frames", "mel_frames", "frame_rate"):
        assert getattr(split.entries[1], name) == getattr(entry(made), name)
    assert modalities(made) == modalities(split.entries[1])
    assert split.lengths.tolist() == [SPLIT.prompter.length(one) for one in split.entries]
    assert split[0].id == "1" and len(split) == 2


def test_what_is_removed_is_gone():
    made = Edited(1, removed=("audio", "video")).of(CLIPS)
    assert modalities(made) == ("text",) and made.text == "words 1"
    with pytest.raises(InputError, match="0 has text, audio, video but no"):
        edited_split(SPLIT, [Edited(0, removed=("text", "audio", "video"))])


def test_what_was_asked_before_is_not_asked_again():
    kept = {repr(Edited(0)): "an answer", f"{Edited(0)!r} an answer": 0.25}
    respondent = PolicyRespondent(split=SPLIT, policy=None, batch_size=4, slots=8, kept=kept)
    assert respondent.answers([Edited(0), Edited(0)]) == ["an answer", "an answer"]
    assert respondent.scores([Edited(0)], ["an answer"]) == [0.25]
