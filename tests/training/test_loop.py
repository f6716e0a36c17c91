"""What all loops have in common: work done ahead, what ends a step."""

import json
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.learning.guard import CAUSES
from emsa_jax.learning.learning_options import GuardOptions, OptimizerOptions
from emsa_jax.runtime.metric_log import NoLog
from emsa_jax.training import loop
from emsa_jax.training.loop import prepare_ahead
from emsa_jax.training.stage_guard import IN_A_ROW
from emsa_jax.training.validation import Look


def test_one_is_made_ahead_and_no_more():
    made, closed = [], []

    def items():
        try:
            yield from range(5)
        finally:
            closed.append(True)

    stream = prepare_ahead(items(), lambda i: made.append(i) or i * i)
    assert next(stream) == 0
    time.sleep(0.05)
    assert made == [0, 1]
    assert list(stream) == [1, 4, 9, 16] and made == [0, 1, 2, 3, 4] and closed
    assert list(prepare_ahead((i for i in ()), str)) == []


@pytest.mark.parametrize("line", ["5", "{}", '{"step": "x"}', "nonsense"])
def test_rows_that_are_none_are_named(tmp_path, line):
    path = tmp_path / "bad_updates.jsonl"
    path.write_text('{"step": 1}\n{"step": 3}\n')
    loop.cut_after(path, 2)
    assert path.read_text() == '{"step": 1}\n'
    path.write_text('{"step": 1}\n' + line + "\n")
    with pytest.raises(InputError, match="bad_updates.jsonl is .*damaged"):
        loop.cut_after(path, 2)


def test_what_goes_wrong_ahead_is_told_in_its_turn_and_closing_ends_it():
    def fails(i):
        if i == 1:
            raise ValueError("no")
        return i

    stream = prepare_ahead((i for i in range(3)), fails)
    assert next(stream) == 0
    with pytest.raises(ValueError, match="no"):
        next(stream)
    stream = prepare_ahead((i for i in range(10**9)), lambda i: i)
    next(stream)
    stream.close()
    assert list(stream) == []


def stage_in(directory, pages=None, **fields):
    """A loop of eight steps, and its state."""
    run = SimpleNamespace(path=lambda *parts: directory.joinpath(*parts), metrics=lambda stage: NoLog())
    defaults = {
        "run": run,
        "stage": "grpo",
        "title": "grpo",
        "plan": SimpleNamespace(batches_per_epoch=4),
        "total": 8,
        "optimizer": OptimizerOptions(learning_rate=1e-3),
        "save_every": 100,
        "identity": {},
        "refresh_page": lambda: (pages if pages is not None else []).append(1),
    }
    stage = loop.StageLoop(**(defaults | fields))
    state, _ = stage.resume({"w": np.zeros(1)}, {})
    return stage, state


def summary(directory):
    return json.loads((directory / "grpo" / "summary.json").read_text())


LEARNED = {"grad_norm": 1.0, "guard/cause": 0, "guard/largest_change": 0.1}
IDLE = LEARNED | {"grad_norm": 0.0}
BAD = {"guard/cause": CAUSES.index("the loss"), "guard/largest_change": 0.0}


def test_a_warning_that_ends_the_run_leaves_the_step_and_says_it_again(tmp_path):
    """The step is saved, the page and the summary are there, and the same command ends in the same line."""
    pages = []
    stage, state = stage_in(tmp_path, pages, strict=True)
    stage._page_written = math.inf
    with stage.running(i for i in range(8)), pytest.raises(InputError, match="lora.targets.*strict=True"):
        for step in range(8):
            stage.end_step(step, IDLE, "", {"w": np.full(1, float(step))}, {})
    assert step == IN_A_ROW - 1 and pages == [1] and summary(tmp_path)["status"] == "training"
    assert float(stage_in(tmp_path, strict=False)[1]["w"][0]) == step
    with pytest.raises(InputError, match="lora.targets.*strict=True"):
        stage_in(tmp_path, strict=True)


def test_a_collapse_is_in_the_summary_while_the_stage_goes_on(tmp_path):
    stage, state = stage_in(tmp_path)
    same = Look(
        clips=8,
        reward=1.0,
        accuracy=0.5,
        unparsed=0.0,
        distinct=1,
        commonest_answer=1.0,
        commonest_class=1.0,
        true_class=0.5,
    )
    with stage.running(i for i in range(8)):
        stage.end_step(0, LEARNED, "", state, {})
        assert not (tmp_path / "grpo" / "summary.json").exists()
        stage.note_answers(1, same, kept=True, at_once=True)
        stage.end_step(1, LEARNED, "", state, {})
    found = summary(tmp_path)
    assert found["status"] == "training" and "after step 2, 100%" in found["warnings"][0]
    assert stage.finish() == "collapsed" and summary(tmp_path)["status"] == "collapsed"


def test_the_end_of_a_stage_that_learned_nothing_is_written_before_it_is_an_error(tmp_path):
    for strict in (False, True):
        stage, state = stage_in(tmp_path / str(strict), strict=strict, total=2)
        with stage.running(i for i in range(2)):
            for step in range(2):
                stage.end_step(step, IDLE, "", state, {})
        if strict:
            with pytest.raises(InputError, match="no step taught anything"):
                stage.finish()
        else:
            assert stage.finish() == "nothing_learned"
        found = summary(tmp_path / str(strict))
        assert found["status"] == "nothing_learned" and len(found["warnings"]) == 1


def test_what_was_warned_of_before_counts(tmp_path):
    stage, state = stage_in(tmp_path, warned=("grpo: a tower",), total=1)
    with stage.running(i for i in range(1)):
        stage.end_step(0, LEARNED, "", state, {})
    assert stage.finish() == "learned" and summary(tmp_path)["warnings"] == ["grpo: a tower"]


def test_clips_of_bad_updates_are_in_a_file_and_cut_where_the_stage_goes_on(tmp_path):
    stage, state = stage_in(tmp_path, updates=2, save_every=2, guard=GuardOptions(max_bad_steps=9))
    ids = [f"clip {i}" for i in range(20)]
    rates = []
    stage._log = SimpleNamespace(write=lambda step, values: rates.append((values["guard/bad_updates"], values)))
    with stage.running(i for i in range(8)):
        for step, bad in enumerate((0, 1, 2)):
            stage.end_step(step, BAD | {"guard/bad_updates": bad} if bad else LEARNED, "", state, {}, ids=ids)
    path = tmp_path / "grpo" / "bad_updates.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["step"], row["updates"], row["cause"]) for row in rows] == [(2, 1, "the loss"), (3, 2, "the loss")]
    assert all(row["clips"] == ids for row in rows) and [bad for bad, _ in rates] == [0, 1, 2]
    assert [values["learning_rate"] for _, values in rates] == [float(stage._rates[i]) for i in (1, 2, 2)]
    assert stage._watch.seen.all_bad == 3 and stage._watch.seen.bad == 2
    assert stage._watch.seen.steps == 2  # one of two updates was taken in the second
    again, _ = stage_in(tmp_path, updates=2)
    assert again.first == 2 and again._watch.seen.all_bad == 1
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2]


def test_too_many_bad_steps_end_the_run_after_the_state_is_saved(tmp_path):
    stage, state = stage_in(tmp_path, guard=GuardOptions(max_bad_steps=2))
    with stage.running(i for i in range(8)), pytest.raises(InputError, match="at step 3, the loss was not finite"):
        for step in range(8):
            stage.end_step(step, BAD if step else LEARNED, "", state, {})
    assert stage_in(tmp_path)[0].first == 3


def test_a_stage_has_steps_and_ends_after_its_warm_up():
    plan, options = SimpleNamespace(batches_per_epoch=4), OptimizerOptions(warmup=6.0)
    assert loop.num_steps("sft", plan, options, epochs=1.5, max_steps=0) == 6
    assert loop.num_steps("grpo", plan, options, epochs=1.0, max_steps=0, updates=2) == 4
    with pytest.raises(InputError, match="sft.optimizer.warmup of 6 updates is longer than the stage of 4"):
        loop.num_steps("sft", plan, options, epochs=1.0, max_steps=0)
    with pytest.raises(InputError, match="sft.epochs"):
        loop.num_steps("sft", plan, options, epochs=0.1, max_steps=0)


def test_the_page_is_written_on_process_0_and_not_at_every_step(tmp_path, monkeypatch):
    now, pages = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    stage, state = stage_in(tmp_path, refresh_page=lambda: pages.append(now[0]))
    with stage.running(i for i in range(8)):
        for step in range(5):
            stage.end_step(step, {}, "", state, {})
            now[0] += loop.PAGE_SECONDS / 2
        stage.write_answers(4, b"{}\n")
        assert pages == [0.0, loop.PAGE_SECONDS, 2 * loop.PAGE_SECONDS]
        stage._is_main = False
        now[0] += loop.PAGE_SECONDS
        stage.end_step(5, {}, "", state, {})
        stage.write_answers(5, b"{}\n")
    assert len(pages) == 3
    assert [path.name for path in (tmp_path / "grpo" / "completions").iterdir()] == ["completions_00005.jsonl"]
