"""Greedy answers to validation clips while a stage learns, and the best that was trained."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import make_format
from emsa_jax.errors import InputError
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.training import validation
from emsa_jax.training.validation import Progress, Validation, open_validation

FORMAT = make_format("label_only", (-1.0, 1.0), 0.1, ConceptOptions())
SCORER = AnswerScorer.of(FORMAT, RewardOptions())


def clip(name, score):
    return SimpleNamespace(id=name, score=score, concepts=(), language="en", text="")


def looked(texts, scores, monkeypatch, batches=1):
    """What a look finds where the clips are answered so."""
    entries = [clip(f"c{i}", score) for i, score in enumerate(scores)]
    split = SimpleNamespace(entries=entries, prompter=SimpleNamespace(format=FORMAT))

    def predict(*_):
        for part in np.array_split(np.arange(len(texts)), batches):
            yield part.tolist(), [[texts[i]] for i in part], np.ones((len(part), 1), bool)

    monkeypatch.setattr(validation, "predict", predict)
    found = Validation(split=split, asked={}, score_answers=SCORER, batch_size=4, seed=0)
    return found.look(None, "grpo, after step 1")


def test_a_look_counts_what_answers_are(monkeypatch):
    texts, scores = ["0.5", "0.5", "-0.4", "what", "0.5", "0.0"], [0.7, -0.7, -0.4, 0.2, None, 0.0]
    found = looked(texts, scores, monkeypatch)
    assert (found.clips, found.distinct, found.commonest_answer) == (6, 4, 0.5)
    assert found.commonest_class == 3 / 6 and found.unparsed == pytest.approx(1 / 6)
    assert found.accuracy == 3 / 5 and found.true_class == 2 / 5 and found.short_answers
    row = found.metrics()
    assert row["eval/distinct_answers"] == 4 and all(name.startswith("eval/") for name in row)
    assert found == looked(texts, scores, monkeypatch, batches=4)
    assert "eval/accuracy" not in looked(["0.5"], [None], monkeypatch).metrics()
    none = looked(["", "so"], [0.5, 0.5], monkeypatch)
    assert none.commonest_class == 0 and none.unparsed == 1 and none.accuracy == 0


def test_the_mean_reward_is_that_of_the_rewards(monkeypatch):
    texts, scores = ["0.5", "-0.4"], [0.7, -0.7]
    table = SCORER([clip("a", s) for s in scores], [[t] for t in texts])
    assert looked(texts, scores, monkeypatch).reward == np.float32(table.total.mean())


def test_answers_without_finite_probabilities_end_the_look_in_one_line(monkeypatch):
    def predict(*_):
        raise InputError("the log-probabilities of answers to clip c3 are not finite")
        yield

    monkeypatch.setattr(validation, "predict", predict)
    found = Validation(split=None, asked={}, score_answers=None, batch_size=4, seed=0)
    with pytest.raises(InputError, match="grpo, after step 9: the log-.* clip c3 .* the last checkpoint is kept"):
        found.look(None, "grpo, after step 9")


def state(value):
    return SimpleNamespace(params={"w": jnp.full(2, value)})


def test_the_best_is_kept_and_of_equals_the_longest_trained():
    progress, kept = Progress.start(state(0.0), validated=True), []
    for step, reward in enumerate((1.0, 2.0, 2.0, 1.5, math.nan, 1.9), 1):
        progress.state = state(float(step))
        kept.append(progress.judge(reward, step))
        assert not kept[-1] or progress.best["w"] is not progress.state.params["w"]  # which the next update uses up
    assert kept == [True, True, True, False, False, False]
    assert (progress.best_step, progress.best_reward, progress.misses) == (3, 2.0, 4)
    np.testing.assert_array_equal(progress.kept["w"], [3.0, 3.0])
    again = Progress.restored(*progress.saved())
    assert again.first_reward == progress.first_reward == 1.0
    assert (again.best_step, again.best_reward, again.misses) == (3, 2.0, 4) and again.best is progress.best


def test_before_the_first_look_what_is_trained_is_kept():
    fresh = Progress.restored(*Progress.start(state(5.0), validated=True).saved())
    assert fresh.best_reward == -math.inf and fresh.kept["w"][0] == 5
    blind = Progress.start(state(7.0), validated=False)
    assert not jax.tree.leaves(blind.saved()[0]["best"]) and blind.kept["w"][0] == 7


def test_the_clips_are_spread_over_the_split(monkeypatch):
    ids = [f"c{i:03d}" for i in range(100)]
    asked = {}
    monkeypatch.setattr(validation, "read_index", lambda records, split: [clip(id, 0.0) for id in ids])
    monkeypatch.setattr(validation, "open_split", lambda *given, ids: asked.update(ids=sorted(ids)) or "split")
    assert open_validation(None, None, None, 4) == "split" and asked["ids"] == ["c000", "c025", "c050", "c075"]
    open_validation(None, None, None, 200)
    assert asked["ids"] == ids
    ids.clear()
    assert open_validation(None, None, None, 4) is None


def test_an_answer_is_read_where_its_score_or_class_is():
    assert Answer(score=0.0).is_read and Answer(sentiment="Neutral").is_read
    assert not Answer(polarity="Positive", think="so").is_read
