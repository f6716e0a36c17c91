"""What GRPO does between its steps."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from emsa_jax.training.grpo import kept_line, look
from emsa_jax.training.validation import Look, Progress


def looks(rewards, total, every):
    """(progress, [(step, kept)]) of a stage whose looks find these rewards, one after the other."""
    found, noted = iter(rewards), []

    def answer(answers, after):
        reward = next(found)
        return Look(
            clips=8,
            reward=reward,
            accuracy=None,
            unparsed=0.0,
            distinct=8,
            commonest_answer=0.1,
            commonest_class=0.1,
            true_class=0.5,
        )

    progress = Progress.start(SimpleNamespace(params={"w": jnp.zeros(1)}), validated=True)
    setup = SimpleNamespace(
        settings=SimpleNamespace(grpo=SimpleNamespace(eval_every=every)),
        validation=SimpleNamespace(look=answer) if every else None,
    )
    programs = SimpleNamespace(answers_of=lambda adapter: None)
    loop = SimpleNamespace(total=total, note_answers=lambda step, look, kept, at_once: noted.append((step + 1, kept)))
    for step in range(total):
        progress.state = SimpleNamespace(params={"w": jnp.full(1, step + 1.0)})
        row = look(progress, setup, programs, loop, step)
        assert bool(row) == (bool(noted) and noted[-1][0] == step + 1)
    assert next(found, None) is None
    return progress, noted


def test_the_first_look_keeps_nothing_and_the_last_may():
    progress, noted = looks([3.0, 1.0, 1.0, 0.5], total=7, every=3)
    assert noted == [(1, False), (3, True), (6, True), (7, False)]
    assert (progress.best_step, progress.first_reward, float(progress.kept["w"][0])) == (6, 3.0, 6.0)
    assert "fell from 3.000 after the first step to 1.000 at best, after step 6" in kept_line(progress, 7)


@pytest.mark.parametrize(
    "rewards, total, every, step, said",
    [
        ([1.0], 1, 10, 1, ""),
        ([1.0, 1.0], 3, 10, 3, ""),
        ([1.0, 0.7], 2, 1, 1, "grpo: the adapter of step 1 is kept"),
        ([], 3, 0, 0, ""),
    ],
)
def test_what_is_kept_is_said_where_it_is_not_the_last(rewards, total, every, step, said):
    progress, _ = looks(rewards, total, every)
    assert progress.best_step == step
    line = kept_line(progress, total)
    assert line.startswith(said) and bool(line) == bool(said)
