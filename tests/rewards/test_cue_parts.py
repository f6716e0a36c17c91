"""What descriptions earn: cue F1 beside EmoCue-360's own functions, and length."""

import numpy as np
import pytest

from emsa_jax.answers.describe import Describe
from emsa_jax.cues.emocue360 import OURS, means, score_clips, vectors_of
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError
from emsa_jax.rewards.cue_parts import cue_f1, encoder, hashed_vectors, length
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer

FORMAT, OPTIONS = Describe(3), RewardOptions(longest=20)
KNOWN = "In the video, she smiles. She nods. In the audio, her voice is bright. Overall, she is glad."
CLIP = Sample("a", "", 0.5, "train", reasoning=KNOWN)
TRUTH = FORMAT.truth(CLIP)


def answer(think):
    return FORMAT.parse(FORMAT.write("", think, 0.5))


def test_it_is_emocue_360_of_the_clip():
    said = "In the video, she smiles broadly. In the audio, her voice is low. Overall, she is happy."
    found = answer(said)
    sides = [
        {"a": {kind: [cue for of, cue in cues if of == kind] for kind in ("visual", "auditory", "emotional")}}
        for cues in (found.cues, TRUTH.cues)
    ]
    scores = means(score_clips(*sides, vectors_of(hashed_vectors, *sides), OURS))
    wanted = np.mean([kind["f1"] for kind in scores.values()])
    assert cue_f1(found, TRUTH, FORMAT, OPTIONS) == pytest.approx(wanted, abs=1e-12) and 0.2 < wanted < 0.9


def test_what_is_true_earns_all_and_what_is_left_out_or_made_up_less():
    whole = cue_f1(answer(KNOWN), TRUTH, FORMAT, OPTIONS)
    assert whole == pytest.approx(1)
    silent = cue_f1(answer("In the video, she smiles. She nods."), TRUTH, FORMAT, OPTIONS)
    assert silent == pytest.approx(1 / 3)
    one = cue_f1(answer("In the video, she smiles. In the audio, x. Overall, x."), TRUTH, FORMAT, OPTIONS)
    many = "She smiles. " * 30
    same = cue_f1(answer(f"In the video, she smiles. {many}In the audio, x. Overall, x."), TRUTH, FORMAT, OPTIONS)
    heap = " ".join(f"It is number {n}." for n in range(30))
    heaped = cue_f1(answer(f"In the video, she smiles. She nods. {heap} In the audio, x."), TRUTH, FORMAT, OPTIONS)
    assert one < whole and same <= one + 0.1 and heaped < silent
    assert cue_f1(answer(KNOWN), None, FORMAT, OPTIONS) is None
    assert cue_f1(answer(KNOWN), FORMAT.truth(Sample("b", "", 0.5, "train")), FORMAT, OPTIONS) is None
    assert cue_f1(FORMAT.parse("nothing"), TRUTH, FORMAT, OPTIONS) == 0


def test_length_falls_behind_the_limit():
    words = len(answer(KNOWN).think.split())
    assert length(answer(KNOWN), TRUTH, FORMAT, RewardOptions(longest=words)) == 1
    assert length(answer(KNOWN), TRUTH, FORMAT, RewardOptions(longest=words - 4)) == pytest.approx(1 - 4 / (words - 4))
    assert length(answer(KNOWN), TRUTH, FORMAT, RewardOptions(longest=4)) == 0
    assert length(FORMAT.parse(""), TRUTH, FORMAT, OPTIONS) == 0


def test_a_scorer_pays_both():
    text = FORMAT.write("", KNOWN, 0.5)
    table = AnswerScorer(format=FORMAT, options=RewardOptions())([CLIP], [[text, text.replace("Positive", "Negative")]])
    assert list(table.parts) == ["format", "accuracy", "cue_f1", "length"]
    np.testing.assert_allclose(table.total, [[4, 3]])


def test_equal_sentences_are_equal_and_an_encoder_that_is_not_there_is_named():
    vectors = encoder("")(["She smiles.", "she  smiles.", "rain falls"])
    np.testing.assert_allclose(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] < 0.3 and np.allclose(np.linalg.norm(vectors, axis=1), 1)
    with pytest.raises(InputError, match="reward.encoder: nowhere"):
        encoder("nowhere")
