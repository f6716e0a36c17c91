"""EmoCue-360's two ways of counting, with vectors that make every score easy to see."""

import numpy as np
import pytest

from emsa_jax.cues.emocue360 import OFFICIAL, OURS, floor, means, score_clips, summary, vectors_of
from emsa_jax.errors import InputError

WORDS: dict[str, int] = {}
ZERO, FULL = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def embed(texts):
    """Every text its own direction; a text of the same first letter is the same."""
    return np.stack([3.0 * np.eye(32)[WORDS.setdefault(text[0], len(WORDS))] for text in texts])


def score(predicted, gold, rule):
    return score_clips(predicted, gold, vectors_of(embed, predicted, gold), rule)


def test_clips_without_prediction_count_in_ours_alone():
    gold = {"a": {"visual": ["x"]}, "b": {"visual": ["y"]}}
    predicted = {"a": {"visual": ["x"]}}
    assert score(predicted, gold, OFFICIAL)["visual"] == {"a": pytest.approx(FULL)}
    found = score(predicted, gold, OURS)
    assert found["visual"] == {"a": pytest.approx(FULL), "b": ZERO}
    assert means(found)["visual"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "n": 2}


def test_absent_emotional_cues_count_before_the_gold_is_looked_at():
    gold = {"a": {"emotional": []}, "b": {"emotional": ["x"]}}
    predicted = {"a": {}, "b": {"emotional": []}}
    assert score(predicted, gold, OFFICIAL)["emotional"] == {"a": ZERO, "b": ZERO}
    assert score(predicted, gold, OURS)["emotional"] == {"b": ZERO}


def test_what_each_rule_takes_for_subtitles():
    cues = ["context", "Text: no", "Subtitle text: no", "字幕：不", "The subtitles say no", "texture", "a text chimes"]
    cues.append("the text says")
    assert [cue for cue in cues if OFFICIAL.drops(cue)] == [cues[i] for i in (0, 2, 5, 6, 7)]
    assert [cue for cue in cues if OURS.drops(cue)] == [cues[i] for i in (1, 2, 3, 4, 7)]


def test_only_auditory_cues_are_dropped_and_a_clip_left_without_any_is_skipped():
    gold = {"a": {"auditory": ["a subtitle"], "visual": ["a subtitle"]}, "b": {"auditory": ["loud"]}}
    predicted = {"a": {"auditory": ["loud"], "visual": ["a subtitle"]}, "b": {"auditory": ["subtitles"]}}
    found = score(predicted, gold, OURS)
    assert found["visual"] == {"a": pytest.approx(FULL)} and found["auditory"] == {"b": ZERO}


def test_f1_is_the_mean_of_the_clips_and_kinds_without_clips_are_left_out():
    gold = {"a": {"visual": ["x", "y"]}, "b": {"visual": ["x"]}}
    predicted = {"a": {"visual": ["x"]}, "b": {"visual": ["x", "z"]}}
    found = means(score(predicted, gold, OURS))
    assert found["visual"] == {"precision": 0.75, "recall": 0.75, "f1": pytest.approx(2 / 3), "n": 2}
    assert found["auditory"] == {"precision": None, "recall": None, "f1": None, "n": 0}
    assert summary(found) == {"mean": 0.75, "mean_f1": pytest.approx(2 / 3)}
    assert summary(means(score({}, {"a": {}}, OURS))) == {"mean": None, "mean_f1": None}
    twice = means(score(predicted, gold, OURS), ["a", "a", "b", "gone"])
    assert twice["visual"]["n"] == 3 and twice["visual"]["precision"] == pytest.approx(2.5 / 3)


def test_the_floor_is_what_predictions_of_other_clips_get():
    gold = {clip: {"visual": [clip]} for clip in "abcd"}
    vectors = vectors_of(embed, gold)
    assert summary(means(score(gold, gold, OURS)))["mean"] == pytest.approx(1)
    assert floor(gold, gold, vectors, OURS) == {"mean": 0.0, "mean_f1": 0.0}  # nobody keeps their own
    same = {clip: {"visual": ["a"]} for clip in "abcd"}
    assert floor(same, gold, vectors, OURS)["mean"] == pytest.approx(0.25)
    assert floor({"a": same["a"]}, gold, vectors, OURS) == {"mean": None, "mean_f1": None}


def test_a_clip_without_gold_is_named():
    with pytest.raises(InputError, match="clip 'c' is predicted"):
        score({"c": {}}, {"a": {}}, OURS)
