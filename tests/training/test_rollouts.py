"""Expected scores of rollouts: from texts to the program and back."""

from types import SimpleNamespace

import numpy as np

from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.expected_scores import ScoreTree
from emsa_jax.training.rollouts import expect


class Ends:
    """Stands for the compiled program: the last end of an answer is three times as likely as all others together."""

    arguments = (None, np.zeros((2, 3, 0)), np.zeros((2, 3)))

    def __call__(self, adapter, cache, said, lengths):
        assert (adapter, cache, said.shape, lengths.shape) == ("adapter", "cache", (2, 3, 0), (2, 3))
        logps = np.full((2, 3, 2), np.log(0.25))
        logps[..., 1] = np.log(0.75)
        return logps


def test_expected_scores_of_a_rollout():
    tools = SimpleNamespace(
        checkpoint=None,
        score_answers=AnswerScorer(format=LabelOnly((-1.0, 1.0))),
        sharding=SINGLE_PROCESS,
        tree=ScoreTree.of_ends([-1.0, 1.0], [[5, 1], [6, 1]]),
    )
    texts = [["0.5", "", "what"], ["1.0", "-1.0", "0.1"]]
    np.testing.assert_allclose(expect(SimpleNamespace(ends=Ends()), "adapter", "cache", texts, tools), 0.5)
    assert expect(SimpleNamespace(ends=None), "adapter", "cache", texts, tools) is None
