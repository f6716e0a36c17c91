"""What is told of a stage that goes wrong without a crash."""

import re
from dataclasses import replace

import pytest

from emsa_jax.errors import InputError
from emsa_jax.learning.guard import CAUSES
from emsa_jax.learning.learning_options import GuardOptions, OptimizerOptions
from emsa_jax.training.stage_guard import IN_A_ROW, Seen, StageGuard
from emsa_jax.training.validation import Look

SOUND = {"grad_norm": 1.0, "completions/clipped_ratio": 0.1}


def watch(stage="grpo", strict=False, **optimizer):
    return StageGuard(stage=stage, options=GuardOptions(), optimizer=OptimizerOptions(**optimizer), strict=strict)


def look(clips=160, **fields):
    found = {"commonest_answer": 0.1, "commonest_class": 0.4, "true_class": 0.5} | fields
    return Look(clips=clips, reward=1.0, accuracy=0.4, unparsed=0.0, distinct=9, **found)


def test_bad_updates_end_the_run_only_in_a_row(capsys):
    guard, loss = watch(), CAUSES.index("the loss")
    for step, cause in enumerate((loss, loss, 0, loss, loss)):
        guard.check_update(step, cause, int(cause > 0), ["a", "b"], "grpo/bad_updates.jsonl")
        guard.end_if_bad(step, cause, "grpo/checkpoints")
    assert guard.seen.all_bad == 4
    assert (
        "warning: grpo: the update of step 3 is not taken, since the loss is not finite (clips a, b; all in "
        "grpo/bad_updates.jsonl)"
    ) in capsys.readouterr().out
    guard.check_update(5, loss, 2, ["a"])
    assert guard.seen.all_bad == 6 and "2 updates of step 5 are not taken" in capsys.readouterr().out
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
        (SOUND, 1e-5, 1e-13, "", {}, "the largest change is 1e-13; raise grpo.optimizer.learning_rate"),
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
    strict = watch(strict=True, **optimizer)
    strict.check_learning(values, rate, change, signal)
    strict.end_if_strict()  # one step is not enough to say so
    assert strict.finish() == "nothing_learned"
    with pytest.raises(InputError, match=named):
        strict.end_if_strict()
    assert capsys.readouterr().out == ""  # it is the error that says it


def test_a_short_stage_without_a_finite_update_learned_nothing(capsys):
    guard = watch()
    for step in (1, 2):
        guard.check_update(step, CAUSES.index("the gradients"), 1, ["a"])
    assert guard.finish() == "nothing_learned"
    assert "no update was finite; lower grpo.optimizer.learning_rate" in capsys.readouterr().out
    guard = watch()
    guard.check_learning(SOUND, 0.0, 0.0, "")
    guard.check_update(2, CAUSES.index("the gradients"), 1, ["a"])
    assert guard.finish() == "nothing_learned"
    assert "1 updates were not finite, and of the others: grpo.optimizer.warmup leaves" in capsys.readouterr().out
    assert watch().finish() == "learned"


def test_a_stage_that_learned_now_and_then_has_learned(capsys):
    guard = watch()
    for i in range(12):
        guard.check_learning(SOUND if i % 4 == 0 else {"grad_norm": 0.0}, 1e-5, 1e-5, "")
    assert guard.finish() == "learned" and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name, field",
    [
        ("completions/clipped_ratio", "sampling.max_completion_length"),
        ("completions/unparsed", "sft.epochs"),
        ("frac_reward_zero_std", "sampling.temperature"),
    ],
)
@pytest.mark.parametrize("steps", [2, 12])
def test_shares_are_told_once_also_where_the_stage_is_short(capsys, name, field, steps):
    guard = watch()
    for _ in range(steps):
        guard.check_learning(SOUND | {name: 0.97}, 1e-5, 1e-5, "")
    assert guard.finish() == "learned"
    told = capsys.readouterr().out
    assert told.count("warning: ") == 1 and field in told and name in told
    now_and_then = watch()
    for i in range(steps):
        now_and_then.check_learning(SOUND | {name: 0.2 if i % 2 else 0.97}, 1e-5, 1e-5, "")
    assert now_and_then.finish() == "learned" and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "found, named",
    [
        (look(commonest_answer=1.0, commonest_class=1.0), "100% of the greedy answers to 160 .* one and the same text"),
        (look(commonest_answer=0.92), "one and the same text"),
        (look(commonest_class=0.95), "name one and the same class"),
        (look(commonest_answer=0.96, commonest_class=0.96, true_class=0.7, short_answers=True), "the same text"),
        (look(commonest_answer=0.95, commonest_class=0.95, true_class=0.97, short_answers=True), ""),
        (look(commonest_class=0.95, true_class=0.97), ""),
        (look(commonest_answer=0.85, commonest_class=0.85), ""),
        (look(clips=7, commonest_answer=1.0, commonest_class=1.0), ""),
    ],
)
def test_answers_that_become_one_are_told_once(capsys, found, named):
    guard = watch()
    guard.check_learning(SOUND, 1e-5, 1e-5, "")
    for step, now in enumerate((look(), found, found), 1):
        guard.check_answers(step, now, kept=step == 1, at_once=True)
    told = capsys.readouterr().out
    assert told.count("warning: ") == bool(named)
    if named:
        assert "grpo: after step 2," in told and "grpo.optimizer.learning_rate or raise loss.beta" in told
        assert re.search(named, told)
    assert guard.finish() == ("collapsed" if named else "learned") and capsys.readouterr().out == ""
    assert guard.finish(last=False) == "learned"  # what is kept had answers that differ


def test_answers_that_cannot_be_read_get_another_advice(capsys):
    guard = watch()
    guard.check_answers(1, replace(look(commonest_answer=1.0), unparsed=1.0), kept=True, at_once=True)
    told = capsys.readouterr().out
    assert "one and the same text" in told and "sft.epochs" in told and "learning_rate" not in told


def test_a_collapse_that_is_over_is_told_and_no_more(capsys):
    guard = watch()
    guard.check_learning(SOUND, 1e-5, 1e-5, "")
    guard.check_answers(1, look(commonest_answer=1.0), kept=True, at_once=True)
    guard.check_answers(2, look(), kept=True, at_once=True)
    assert guard.finish() == "learned" and capsys.readouterr().out.count("warning: ") == 1


def test_a_cold_start_whose_answers_cannot_be_read_is_told(capsys):
    guard = watch("sft")
    guard.check_learning(SOUND, 1e-5, 1e-5, "")
    guard.check_answers(1, replace(look(), unparsed=0.6), kept=True, at_once=False)
    guard.check_answers(2, look(), kept=False, at_once=False)
    assert guard.finish(last=False) == "learned"
    told = capsys.readouterr().out
    assert told.count("warning: ") == 1 and "60% of the greedy answers" in told and "sft.epochs" in told


def test_a_cold_start_is_told_at_its_end(capsys):
    guard = watch("sft")
    guard.check_learning(SOUND, 1e-5, 1e-5, "")
    guard.check_answers(1, look(commonest_answer=1.0), kept=True, at_once=False)
    assert capsys.readouterr().out == ""
    assert guard.finish(last=False) == "collapsed" and "sft.optimizer.learning_rate" in capsys.readouterr().out


def test_what_was_seen_is_kept_in_a_checkpoint():
    guard = watch()
    guard.check_learning({"grad_norm": 0.0}, 1e-5, 0.0, "")
    guard.check_answers(1, look(commonest_answer=1.0), kept=True, at_once=True)
    assert Seen(**guard.saved()) == guard.seen
    again = StageGuard(stage="grpo", options=GuardOptions(), optimizer=OptimizerOptions(), seen=Seen(**guard.saved()))
    assert "lora.targets" in again.seen.reason and again.seen.kept_collapsed


def test_a_policy_that_unlearned_to_answer_has_collapsed(capsys):
    guard, unread = watch(), replace(look(), unparsed=1.0)
    guard.check_learning(SOUND, 1.0, 1.0, "")
    for step, now in enumerate((look(), unread), 1):
        guard.check_answers(step, now, kept=step == 2, at_once=True)
    assert guard.finish() == "collapsed"
    told = capsys.readouterr().out
    assert "cannot be read, and of the first look, 0% could not; lower grpo.optimizer.learning_rate" in told
    never = watch()
    never.check_learning(SOUND, 1.0, 1.0, "")
    never.check_answers(1, unread, kept=True, at_once=True)
    assert never.finish() == "learned" and "train the cold start longer" in capsys.readouterr().out
