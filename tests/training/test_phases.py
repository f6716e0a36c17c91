"""Further phases of a stage: their schedules, and the loop that goes through them and comes back to them."""

from types import SimpleNamespace

import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.learning.optimizer import learning_rate_schedule
from emsa_jax.training.loop import StageLoop
from emsa_jax.training.phases import further_phases
from emsa_jax.training.training_options import GrpoOptions

OPTIMIZER = OptimizerOptions(1e-3, warmup=2.0, schedule="cosine")


def test_each_has_its_own_rate():
    options = GrpoOptions(max_steps=8, extend=(4, 6), extend_rates=(0.5,), optimizer=OPTIMIZER)
    first, second = further_phases("grpo", options)
    assert (first.steps, first.optimizer.learning_rate) == (4, 5e-4)
    assert (second.steps, second.optimizer.learning_rate) == (6, 1e-3)


def test_what_cannot_be_is_named():
    with pytest.raises(InputError, match="extend_rates names 2 phases, and extend 1"):
        GrpoOptions(extend=(4,), extend_rates=(0.5, 0.5))
    with pytest.raises(InputError, match="grpo.extend: grpo.optimizer.warmup of 2 updates is longer than a phase of 1"):
        further_phases("grpo", GrpoOptions(extend=(1,), optimizer=OPTIMIZER))


class Rows:
    """A log that keeps the learning rates by their steps."""

    def __init__(self):
        self.rates = {}

    def write(self, step, values):
        self.rates[step] = values["learning_rate"]

    def truncate_after(self, step):
        self.rates = {at: rate for at, rate in self.rates.items() if at <= step}


@pytest.fixture
def loop(tmp_path):
    """(further phases, log) -> a loop of three steps and these phases."""

    def make(extend, log):
        options = GrpoOptions(max_steps=3, extend=extend, optimizer=OPTIMIZER)
        return StageLoop(
            run=SimpleNamespace(path=lambda *parts: tmp_path.joinpath(*parts), metrics=lambda stage: log),
            stage="grpo",
            title="grpo",
            plan=SimpleNamespace(batches_per_epoch=4),
            total=3,
            optimizer=OPTIMIZER,
            save_every=2,
            identity={},
            refresh_page=lambda: None,
            more=further_phases("grpo", options),
        )

    return make


def go(loop, most=100):
    """(kinds of phases, steps made) until `most` steps are made, as if killed then; the state counts them."""
    state, _ = loop.resume({"w": np.zeros(1, np.float32)}, {})
    kinds, steps = [], []
    for begins in loop.phases():
        kinds.append(begins)
        with loop.running(i for i in ()):
            for step in range(loop.first, loop.total):
                if len(steps) == most:
                    return kinds, steps
                state = {"w": np.asarray(state["w"]) + np.float32(1)}
                loop.end_step(step, {"grad_norm": 1.0, "guard/cause": 0, "guard/largest_change": 0.1}, "", state, {})
                steps.append(step)
    assert float(state["w"][0]) == loop.total
    return kinds, steps


def test_a_finished_stage_goes_on_with_a_schedule_of_its_own(loop):
    log = Rows()
    assert go(loop((), log)) == ([False], [0, 1, 2])
    assert go(loop((), log)) == ([], [])  # there is nothing left
    assert go(loop((4,), log)) == ([True], [3, 4, 5, 6])
    assert go(loop((4, 2), log)) == ([True], [7, 8])
    spans = [(0, 3), (3, 4), (7, 2)]
    expected = [float(learning_rate_schedule(OPTIMIZER, n)(i)) for _, n in spans for i in range(n)]
    assert list(log.rates) == list(range(1, 10))
    np.testing.assert_allclose(list(log.rates.values()), expected, rtol=1e-6)


def test_all_phases_at_once_are_the_same_as_one_by_one(loop):
    log = Rows()
    assert go(loop((4, 2), log)) == ([False, True, True], list(range(9)))


@pytest.mark.parametrize(
    "killed, kinds, left",
    [(2, [False, True], [2, 3, 4, 5, 6]), (3, [True], [3, 4, 5, 6]), (4, [False], [4, 5, 6]), (5, [False], [4, 5, 6])],
)
def test_a_killed_phase_goes_on_where_it_was_saved(loop, killed, kinds, left):
    """There are checkpoints after 2, 3 (the end of a phase), 4 and 6 steps."""
    go(loop((4,), Rows()), most=killed)
    assert go(loop((4,), Rows())) == (kinds, left)


def test_a_phase_that_is_no_more_asked_for_is_told(loop):
    go(loop((4,), Rows()))
    with pytest.raises(InputError, match="of phase 2, and grpo.extend names 0 after the first"):
        go(loop((), Rows()))
