from functools import partial

import numpy as np
import pytest

from emsa_jax.data.data_options import MODALITIES
from emsa_jax.data.records import Clip, Entry
from emsa_jax.data.views import modalities, only, view
from emsa_jax.errors import InputError

FRAMES, MEL = np.ones((2, 28, 28, 3), np.uint8), np.ones((9, 128), np.float32)
WHOLE = Clip("a", "words", 0.5, "train", "en", FRAMES, 2.0, MEL)
SILENT = Clip("b", "words", None, "train", "en", FRAMES, 2.0, MEL[:0])
MUTE = Clip("c", "  ", 0.0, "train", "en", FRAMES[:0], 0.0, MEL)
NOTHING = Clip("d", "", 0.0, "train", "en", FRAMES[:0], 0.0, MEL[:0])
ENTRY = Entry("a", "words", 0.5, "train", "en", 2, 28, 28, 2.0, 9)


def test_modalities():
    assert [modalities(c) for c in (WHOLE, SILENT, MUTE, NOTHING)] == [
        ("text", "audio", "video"),
        ("text", "video"),
        ("audio",),
        (),
    ]
    assert modalities(ENTRY) == MODALITIES


@pytest.mark.parametrize("kept", MODALITIES)
def test_a_single_modality(kept):
    clip = only(WHOLE, (kept,))
    assert modalities(clip) == (kept,)
    assert clip.text == ("words" if kept == "text" else "")
    assert clip.frames.shape == ((2, 28, 28, 3) if kept == "video" else (0, 28, 28, 3))
    assert clip.frame_rate == (2.0 if kept == "video" else 0.0)
    assert clip.mel.shape == ((9, 128) if kept == "audio" else (0, 128))
    assert (clip.id, clip.score, clip.split) == ("a", 0.5, "train")
    entry = only(ENTRY, (kept,))
    assert (entry.text, entry.num_frames, entry.frame_rate, entry.mel_frames) == (
        clip.text,
        len(clip.frames),
        clip.frame_rate,
        len(clip.mel),
    )
    assert modalities(WHOLE) == MODALITIES  # untouched


def test_nothing_to_show_is_said():
    with pytest.raises(InputError, match="b has text, video but no audio; leave it out"):
        only(SILENT, ("audio",))
    assert modalities(only(NOTHING, ("audio",))) == ()


def test_a_draw_is_a_function_of_seed_step_and_row():
    show = partial(view, rates=dict.fromkeys(MODALITIES, 0.5))
    shown = {key: modalities(show(WHOLE, key[0], key[1], seed=key[2])) for key in np.ndindex(6, 6, 6)}
    assert shown == {key: modalities(show(WHOLE, key[0], key[1], seed=key[2])) for key in np.ndindex(6, 6, 6)}
    for axis in range(3):  # each of them matters
        tables = np.array(
            [[len(set(shown[tuple(np.insert(rest, axis, i))] for i in range(6)))] for rest in np.ndindex(6, 6)]
        )
        assert tables.max() > 2


def test_rates_and_the_last_modality():
    rates = {"text": 0.2, "audio": 0.5, "video": 0.0}
    shown = [modalities(view(WHOLE, step, row, rates=rates, seed=1)) for step in range(250) for row in range(8)]
    share = {name: sum(name in s for s in shown) / len(shown) for name in MODALITIES}
    assert share == {"text": pytest.approx(0.8, abs=0.03), "audio": pytest.approx(0.5, abs=0.04), "video": 1.0}
    alone = [modalities(view(SILENT, step, 0, rates={"text": 1.0, "video": 1.0}, seed=1)) for step in range(600)]
    assert {len(s) for s in alone} == {1}
    assert sum(s == ("text",) for s in alone) / 600 == pytest.approx(0.5, abs=0.07)
    always = dict.fromkeys(MODALITIES, 1.0)
    for step in range(50):
        assert modalities(view(MUTE, step, 0, rates=always, seed=1)) == ("audio",)
        assert modalities(view(NOTHING, step, 0, rates=always, seed=1)) == ()


def test_what_prompts_do_not_have_is_no_last_modality():
    rates = {"text": 0.9}
    for step in range(50):
        assert "text" in modalities(view(WHOLE, step, 0, rates=rates, seed=0, among=("text",)))
        assert set(modalities(view(WHOLE, step, 0, rates=rates, seed=0, among=("text", "audio")))) >= {"audio"}
    assert view(SILENT, 0, 0, rates={"audio": 1.0}, seed=0, among=("audio",)) is SILENT


def test_dropping_one_does_not_hang_on_the_others():
    rates = {"text": 0.5, "audio": 0.9}
    for step in range(100):
        whole, silent = (modalities(view(c, step, 3, rates=rates, seed=0)) for c in (WHOLE, SILENT))
        assert ("text" in whole) == ("text" in silent)


def test_nothing_is_copied_where_nothing_is_dropped():
    assert view(WHOLE, 0, 0, rates={}, seed=0).frames is WHOLE.frames
