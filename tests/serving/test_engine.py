"""The engine answers as an evaluation does, whoever asks at the same time, and tells everybody how it ended."""

import queue

import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.policy.prompt_row import Row
from emsa_jax.serving.engine import Busy, Closed, Work
from emsa_jax.serving.questions import ask_about
from tests.serving.conftest import SLOTS


class Asked:
    """A question to an engine, and what was delivered."""

    def __init__(self, served, clip, **work):
        self.arrived = queue.SimpleQueue()
        row = ask_about(served.opened, clip).row
        self.work = Work(row=row, deliver=self.arrived.put, **({"limit": SLOTS} | work))

    def answer(self):
        """(tokens, last delivery)."""
        tokens = []
        while True:
            delivery = self.arrived.get(timeout=60)
            tokens += delivery.tokens
            if delivery.done:
                return tokens, delivery


def ids(tokens):
    return [token.id for token in tokens]


def test_greedy_answers_are_those_of_an_evaluation(served, engine, evaluated):
    asked = [Asked(served, clip, likeliest=3) for clip in served.asked]
    engine.submit([one.work for one in asked])
    engine.start()
    for row, one in enumerate(asked):
        tokens, last = one.answer()
        length = evaluated.length[row, 0]
        assert ids(tokens) == evaluated.tokens[row, 0, :length].tolist()
        np.testing.assert_allclose([t.logp for t in tokens], evaluated.logps[row, 0, :length], atol=1e-4)
        assert last.ended == evaluated.ended[row, 0]
        for token in tokens:
            assert token.likeliest[0] == (token.id, pytest.approx(token.logp)) and len(token.likeliest) == 3


def test_what_is_drawn_hangs_on_seed_and_answer_alone(served, engine):
    engine.start()
    drawn = {"temperature": 1.0, "top_p": 0.9}
    together = [Asked(served, served.asked[0], seed=seed, answer=n, **drawn) for seed, n in ((1, 0), (1, 1), (2, 0))]
    engine.submit([one.work for one in together])
    found = [ids(one.answer()[0]) for one in together]
    alone = Asked(served, served.asked[0], seed=1, answer=1, **drawn)
    engine.submit([alone.work])
    assert ids(alone.answer()[0]) == found[1]
    assert found[0] != found[1] != found[2] != found[0]


def test_answers_of_a_batch_end_at_their_own_limits(served, engine):
    asked = [Asked(served, served.asked[0], limit=limit) for limit in (1, 7, SLOTS)]
    engine.submit([one.work for one in asked])
    engine.start()
    answers = [one.answer() for one in asked]
    lengths = [len(tokens) for tokens, _ in answers]
    assert lengths[0] == 1 and lengths[1] <= 7 and not answers[0][1].ended
    assert ids(answers[2][0])[: lengths[1]] == ids(answers[1][0])


def test_what_does_not_fit_is_refused_and_what_is_too_much_must_wait(served, engine):
    with pytest.raises(InputError, match="the prompt has 193 tokens, but there is room for 192"):
        engine.submit([Work(row=Row([1] * 193), deliver=print, limit=1)])
    with pytest.raises(InputError, match="13 tokens of an answer"):
        engine.submit([Work(row=Row([1]), deliver=print, limit=13)])
    eight = [Asked(served, served.asked[2]) for _ in range(8)]
    engine.submit([one.work for one in eight])
    with pytest.raises(Busy):
        engine.submit([Work(row=Row([1]), deliver=print, limit=1)])
    engine.start()
    assert len({tuple(ids(one.answer()[0])) for one in eight}) == 1
    assert (engine.waiting, engine.running) == (0, 0)


def test_whoever_no_longer_waits_takes_no_time(served, engine):
    gone = Asked(served, served.asked[0])
    gone.work.cancelled = True
    engine.submit([gone.work])
    engine.start()
    assert gone.answer()[0] == []


def test_an_engine_that_closes_says_so(served, engine):
    left = Asked(served, served.asked[2])
    engine.submit([left.work])
    engine.close()
    engine.start()
    tokens, last = left.answer()
    assert tokens == [] and last.error == "the server is stopping"
    with pytest.raises(Closed):
        engine.submit([left.work])


def test_a_batch_that_fails_is_told_and_the_next_one_answered(served, engine, monkeypatch):
    broken = Asked(served, served.asked[2])
    with monkeypatch.context() as patch:
        patch.setattr(served.programs, "begin", lambda *_: 1 / 0)
        engine.submit([broken.work])
        engine.start()
        assert broken.answer()[1].error.startswith("ZeroDivisionError")
    sound = Asked(served, served.asked[2])
    engine.submit([sound.work])
    assert not sound.answer()[1].error


def test_each_program_is_counted_while_they_compile(served):
    count = served.programs.count
    assert len(served.compiled) == count > 0
