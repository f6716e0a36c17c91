"""What is told of a stage that goes wrong without a crash."""

import pytest

from emsa_jax.errors import InputError
from emsa_jax.learning.guard import CAUSES
from emsa_jax.learning.learning_options import GuardOptions, OptimizerOptions
from emsa_jax.training.stage_guard import IN_A_ROW, Seen, StageGuard

SOUND = {"grad_norm": 1.0, "completions/clipped_ratio": 0.1}


def watch(stage="grpo", strict=False, **optimizer):
    return StageGuard(stage=stage, options=GuardOptions(), optimizer=OptimizerOptions(**optimizer), strict=strict)


def test_bad_updates_end_the_run_only_in_a_row(capsys):
    guard, loss = watch(), CAUSES.index("the loss")
    for step, cause in enumerate((loss, loss, 0, loss, loss)):
        guard.check_update(step, cause, ["a", "b"])
        guard.end_if_bad(step, cause, "grpo/checkpoints")
    assert guard.seen.all_bad == 4
    assert "warning: grpo: the update of step 3 is not taken, since the loss is not finite (clips a, b)" in (
        capsys.readouterr().out
    )
    guard.check_update(5, loss, ["a"])
    with pytest.raises(InputError, match="grpo: at step 5, the loss was not finite, 3 steps in a row"):
        guard.end_if_bad(5, loss, "grpo/checkpoints")


@pytest.mark.parametrize(
    "values, rate, change, signal, optimizer, named",
    [
        (SOUND, 1e-5, 1e-5, "all reward.weights are 0; set one of them", {}, "reward.weights"),
        ({"grad_norm": 0.0}, 1e-5, 0.0, "", {}, "lora.targets"),
        (SOUND, 1e-30, 1e-30, "", {"learning_rate": 1e-30}, "grpo.optimizer.learning_rate"),
        (SOUND, 1e-5, 1e-8, "", {"clip_norm": 1e-30}, "grpo.optimizer.clip_norm"),
        (SOUND, 0.0, 0.0, "", {"warmup": 100.0}, "grpo.optimizer.warmup"),
        (SOUND, 1e-5, 0.0, "", {}, "dtype=float32"),
    ],
)
def test_a_stage_that_teaches_nothing_is_told_once_with_the_field(
    capsys, values, rate, change, signal, optimizer, named
):
    guard = watch(**optimizer)
    for _ in range(IN_A_ROW + 3):
        guard.check_learning(values, rate, change, signal)
    assert guard.finish() == "nothing_learned"
    told = capsys.readouterr().out
    assert told.count("warning: ") == 1 and named in told
    short = watch(**optimizer)
    short.check_learning(values, rate, change, signal)
    assert short.finish() == "nothing_learned" and named in capsys.readouterr().out
    with pytest.raises(InputError, match=named):
        strict = watch(strict=True, **optimizer)
        strict.check_learning(values, rate, change, signal)
        strict.finish()


def test_a_stage_that_learned_now_and_then_has_learned(capsys):
    guard = watch()
    for i in range(12):
        guard.check_learning(SOUND if i % 4 == 0 else {"grad_norm": 0.0}, 1e-5, 1e-5, "")
    assert guard.finish() == "learned" and capsys.readouterr().out == ""


def test_answers_that_are_cut_off_are_told_once(capsys):
    guard = watch()
    for _ in range(12):
        guard.check_learning(SOUND | {"completions/clipped_ratio": 0.95}, 1e-5, 1e-5, "")
    told = capsys.readouterr().out
    assert told.count("warning: ") == 1 and "sampling.max_completion_length" in told and guard.finish() == "learned"


def test_what_was_seen_is_kept_in_a_checkpoint():
    guard = watch()
    guard.check_learning({"grad_norm": 0.0}, 1e-5, 0.0, "")
    assert Seen(**guard.saved()) == guard.seen
