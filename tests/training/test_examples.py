"""What an update learns from: which answers count, and which tokens."""

from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.data.sample import Sample
from emsa_jax.learning.learning_options import AdvOptions, LossOptions
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.rollout.sampler import Completions
from emsa_jax.training.examples import ExampleOptions, make_examples
from emsa_jax.training.rollouts import Rollout
from emsa_jax.training.training_options import GrpoOptions

N, G, C = 3, 2, 4
OPTIONS = ExampleOptions(grpo=GrpoOptions(), hint=HintOptions(), adv=AdvOptions(), loss=LossOptions())


@pytest.fixture
def rollout():
    """Three groups of two; the second was hard and hinted, the third is still hard after it; one answer is cut off."""
    forced = np.array([[0, 0], [1, 1], [1, 1]], np.int32)
    length = np.array([[3, 4], [2, 3], [3, 4]], np.int32)
    ended = np.array([[True, False], [True, True], [True, True]])
    answers = Completions(np.ones((N, G, C), np.int32), np.zeros((N, G, C), np.float32), length, ended, forced)
    texts = [[f"<score>{n / 4 + g / 2}</score>" for g in range(G)] for n in range(N)]
    table = AnswerScorer(format=DC())([Sample(str(n), "", 0.5, "train") for n in range(N)], texts)
    hard = np.array([False, True, True])
    return Rollout(
        first=answers,
        first_texts=texts,
        first_table=table,
        final=answers,
        final_texts=texts,
        final_table=table,
        hard=hard,
        hinted=hard,
        failed=np.array([False, False, True]),
        prefix_logp=np.full(N, np.nan),
    )


def counted(rollout, hint=None, loss=None):
    options = replace(OPTIONS, hint=replace(OPTIONS.hint, **hint or {}), loss=replace(OPTIONS.loss, **loss or {}))
    return make_examples(rollout, None, options, None).counted.tolist()


def test_all_answers_count_unless_options_say_otherwise(rollout):
    assert counted(rollout) == [[True, True]] * 3


def test_hard_groups_are_left_out(rollout):
    assert counted(rollout, {"mode": "drop_hard"}) == [[True, True], [False, False], [False, False]]


def test_answers_that_were_cut_off_are_left_out(rollout):
    assert counted(rollout, loss={"mask_truncated_completions": True}) == [[True, False], [True, True], [True, True]]


def test_forced_tokens_are_outside_the_loss(rollout):
    mask = make_examples(rollout, None, OPTIONS, None).mask
    np.testing.assert_array_equal(mask.sum(-1), rollout.final.length - rollout.final.forced)
    assert not mask[1:, :, 0].any()
