"""What a run has left may have been changed by anybody: each file ends in one line that names it."""

import json

import pytest

from emsa_jax.answers.formats import make_format
from emsa_jax.errors import InputError
from emsa_jax.report.run_files import _hinted, made, read_metrics, read_result, statuses, warnings_of


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "found",
    [
        [],
        {"metrics": {}},
        {"metrics": {"Polarity_acc": "x"}},
        {"metrics": {"Polarity_acc": 0.5}, "labels": 5},
        {"metrics": {"Polarity_acc": 0.5}, "floor": {"Polarity_acc": []}},
        {"metrics": {"Polarity_acc": 0.5}, "intervals": {"Polarity_acc": [1]}},
    ],
)
def test_results(tmp_path, found):
    path = write(tmp_path / "evaluate" / "sft" / "train" / "metrics.json", json.dumps(found))
    with pytest.raises(InputError, match=f"{path} is damaged"):
        read_result(tmp_path, "sft", "train")


@pytest.mark.parametrize(
    "line", ["5", "[]", "{}", '{"stage": "sft", "step": "x"}', '{"stage": "sft", "step": 1, "a": "x"}']
)
def test_rows_of_metrics(tmp_path, line):
    write(tmp_path / "metrics.jsonl", '{"stage": "sft", "step": 1, "loss": 1e300, "kl": null}\n' + line + "\n")
    with pytest.raises(InputError, match="metrics.jsonl is damaged"):
        read_metrics(tmp_path)
    write(tmp_path / "metrics.jsonl", '{"stage": "sft", "step": 1, "loss": 1e300, "kl": null}\n{"sta')
    assert [row["loss"] for row in read_metrics(tmp_path)] == [1e300]


@pytest.mark.parametrize("content", ["5", '{"warnings": "x"}', '{"warnings": [5]}', '{"warnings": [], "status": {}}'])
def test_summaries(tmp_path, content):
    write(tmp_path / "grpo" / "summary.json", content)
    for read in (statuses, warnings_of):
        with pytest.raises(InputError, match="grpo/summary.json is damaged"):
            read(tmp_path)


@pytest.mark.parametrize(
    "row", [{}, {"target": "x"}, {"target": 0.5, "completions": 5}, {"target": 0.5, "hinted_completions": [5]}]
)
def test_completions(tmp_path, row):
    write(tmp_path / "grpo" / "completions" / "1.jsonl", json.dumps(row) + "\n")
    with pytest.raises(InputError, match="1.jsonl is damaged"):
        _hinted(tmp_path, make_format("dc", (-1.0, 1.0)), 0.0)


def test_what_was_asked(tmp_path):
    write(tmp_path / "config.json", "[]")
    with pytest.raises(InputError, match="config.json is damaged"):
        made(tmp_path)
