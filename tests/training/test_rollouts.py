"""Expected scores of rollouts: from texts to the program and back."""

from types import SimpleNamespace

import numpy as np

from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.data.sample import Sample
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.expected_scores import ScoreTree
from emsa_jax.rollout.sampler import Completions
from emsa_jax.training.rollouts import expect, without_inconsistent


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


def test_hinted_answers_whose_evidence_denies_the_hint_give_their_places_back():
    format = DC((-1.0, 1.0))
    smile, frown = (
        format.write("Negative", f"words: good. face: {lips}. voice: {tone}. 4. face and voice decide.", -0.6)
        for lips, tone in (("smile", "rising"), ("frown", "falling"))
    )
    old = format.write("Positive", "words: good.", 0.6)

    def completions(value, forced):
        shape = (2, 3)
        return Completions(
            tokens=np.full((*shape, 4), value),
            logps=np.full((*shape, 4), -float(value)),
            length=np.full(shape, value),
            ended=np.full(shape, value > 1),
            forced=np.array(forced),
        )

    rollout = SimpleNamespace(first=completions(1, [[0] * 3] * 2), first_texts=[[old] * 3] * 2)
    hinted = completions(2, [[0, 2, 2], [0, 0, 0]])  # the last two answers of the first group
    texts = [[old, smile, frown], [old, old, old]]
    truths = [format.truth(Sample("a", "", -0.6, "train")), None]
    final, kept = without_inconsistent(rollout, hinted, texts, truths, format)
    assert kept == [[old, old, frown], [old, old, old]]
    np.testing.assert_array_equal(final.forced, [[0, 0, 2], [0, 0, 0]])
    np.testing.assert_array_equal(final.length[0], [2, 1, 2])
    np.testing.assert_array_equal(final.tokens[0, :, 0], [2, 1, 2])
    assert not final.ended[0, 1] and final.ended[0, 2]
