"""What all loops have in common: work done ahead, what ends a step."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.runtime.metric_log import NoLog
from emsa_jax.training import loop
from emsa_jax.training.loop import prepare_ahead


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


def test_the_page_is_written_on_process_0_and_not_at_every_step(tmp_path, monkeypatch):
    now, pages = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    run = SimpleNamespace(path=lambda *parts: tmp_path.joinpath(*parts), metrics=lambda stage: NoLog())
    stage = loop.StageLoop(
        run=run,
        stage="grpo",
        title="grpo",
        plan=SimpleNamespace(batches_per_epoch=4),
        total=8,
        optimizer=OptimizerOptions(learning_rate=1e-3),
        save_every=100,
        identity={},
        refresh_page=lambda: pages.append(now[0]),
    )
    state, _ = stage.resume({"w": np.zeros(1)}, {})
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
