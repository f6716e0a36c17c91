"""Clips that are asked about both branches, or about one alone."""

from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.answers.describe import Describe
from emsa_jax.data.records import Clip, Entry
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.prompt_row import ASKS
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rollout.asked import AskedClip, asked_ways
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import Prompter, asks_of
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.training.sft_data import answer_table, can_write, cue_targets, make_batch

HEARD = dict(reasoning="In the audio, her voice is bright. Overall, she is glad.")
BOTH = dict(reasoning="In the video, she smiles. In the audio, her voice is bright. Overall, she is glad.")
FRAMES, MEL = np.zeros((3, 56, 56, 3), np.uint8), np.zeros((40, 128), np.float32)
CLIPS = [
    Clip("a", "hey", 0.5, "train", "en", FRAMES, 1.0, MEL, **BOTH),
    Clip("b", "oh", -0.5, "train", "en", FRAMES, 1.0, MEL, **HEARD),
    Clip("c", "so", 0.5, "train", "en", FRAMES[:0], 0.0, MEL, **BOTH),
]


def entry(clip):
    media = (len(clip.frames), 56, 56, clip.frame_rate, len(clip.mel))
    return Entry(clip.id, clip.text, clip.score, clip.split, clip.language, *media, reasoning=clip.reasoning)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    at = tmp_path_factory.mktemp("tiny") / "policy"
    texts = [Describe(3).ask(["text", "audio", "video"], "en"), *(clip.reasoning for clip in CLIPS)]
    make_tiny(at, texts, 0, bridged=True)
    return open_checkpoint(at)


@pytest.fixture
def split(checkpoint):
    prompter, entries = Prompter(checkpoint, Describe(3), PromptOptions()), [entry(clip) for clip in CLIPS]
    return Split(None, prompter, entries, np.array([prompter.length(e) for e in entries]), CLIPS, np.arange(3))


def words(checkpoint, split, clip):
    return checkpoint.tokenizer.decode(split.prompter.row(clip).tokens, skip_special_tokens=True)


def test_each_clip_is_asked_each_way_that_it_can_be(checkpoint, split):
    targets = cue_targets(split)
    asked = asked_ways(split, ASKS, lambda e, way: can_write(Describe(3), targets[e.id], way))
    assert [(e.id, e.asks) for e in asked.entries] == [
        *((id, "both") for id in "abc"), ("a", "visual"), *((id, "audio") for id in "abc")
    ]  # fmt: skip
    for i, e in enumerate(asked.entries):
        clip = asked[i]
        assert isinstance(clip, AskedClip) and (clip.id, asks_of(clip)) == (e.id, e.asks)
        row = split.prompter.row(clip)
        assert row.asks == ASKS.index(e.asks) and len(row.tokens) == asked.lengths[i]
        assert len(row.videos) == (clip.id != "c") and len(row.audios) == 1  # all that there is is shown
    said = words(checkpoint, split, asked[3])
    assert "In the video, what is seen." in said and "In the audio" not in said and "voice" not in said
    table = answer_table(checkpoint, asked, targets, 64)
    answers = [checkpoint.tokenizer.decode(row[row >= 0], skip_special_tokens=True) for row in table]
    assert answers[3] == "In the video, she smiles.\nOverall, she is glad. The sentiment is Positive."
    assert answers[4].startswith("In the audio, her voice is bright.\nOverall")
    batch = make_batch(asked, [asked[4], asked[0]], table, asked.input_shape(max(asked.lengths), 2), 1)
    assert batch.inputs.asks.tolist() == [[2, 0]]
    np.testing.assert_array_equal(np.where(batch.mask[0], batch.tokens[0], -1), table[[4, 0]])


def test_one_way_leaves_a_split_as_it_is(split):
    assert asked_ways(split, ("both",), lambda *_: False) is split


def test_what_cannot_be_asked_is_one_line(split):
    with pytest.raises(InputError, match="sft.asks: no clip has video and an answer about it; leave visual out"):
        asked_ways(split, ("both", "visual"), lambda _, way: way == "both")
    with pytest.raises(InputError, match="mixture"):
        asked_ways(replace(split, parts=("a",)), ASKS, lambda *_: True)


def test_more_frames_than_positions_are_named(split):
    long = replace(split.entries[0], num_frames=17)
    with pytest.raises(InputError, match="'a' has 17 frames, but the policy's bridge has 16 positions"):
        split.prompter.length(long)


def test_instructions_of_a_users_own_take_the_place_of_ours(tmp_path, checkpoint, split):
    path = tmp_path / "own.json"
    path.write_text('{"en": {"both": "Subtitle: {words} What does he feel?", "audio": "Listen."}}')
    own = Prompter(checkpoint, Describe(3), PromptOptions(instructions=str(path)))
    asked = asked_ways(replace(split, prompter=own), ("both", "visual", "audio"), lambda *_: True)
    both, visual, audio = (words(checkpoint, asked, asked[i]) for i in (0, 3, 5))
    assert "Subtitle: hey What does he feel?" in both and "Words:" not in both
    assert "In the video, what is seen." in visual
    assert "Listen.\nWords: hey" in audio and "In the" not in audio
    for content, message in (
        ("[]", "object of languages"),
        ('{"fr": {"both": "x"}}', "'fr'"),
        ('{"en": {"x": "y"}}', "both, visual"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            words(checkpoint, split, CLIPS[0])
            Prompter(checkpoint, Describe(3), PromptOptions(instructions=str(path))).row(CLIPS[0])
