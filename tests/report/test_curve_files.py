"""The files of curves: every logged value is in them."""

import csv
import io

from PIL import Image

from emsa_jax.report.curve_files import curve_files

ROWS = [
    {"stage": "sft", "step": 1, "loss": 2.0},
    *({"stage": "grpo", "step": i, "reward": i / 7, "reward_train": None if i == 2 else 1.0} for i in (1, 2, 3)),
]


def table(data):
    return list(csv.reader(io.StringIO(data.decode())))


def test_curves_of_one_run():
    files = curve_files({"run": ROWS})
    assert set(files) == {f"{name}.{end}" for name in ("sft_cold_start_loss", "grpo_reward") for end in ("png", "csv")}
    rows = table(files["grpo_reward.csv"])
    assert rows[0] == ["step", "reward (before hints)", "reward_train (after)"]
    assert rows[1:] == [["1", repr(1 / 7), "1.0"], ["2", repr(2 / 7), ""], ["3", repr(3 / 7), "1.0"]]
    assert Image.open(io.BytesIO(files["grpo_reward.png"])).size == (840, 500)


def test_curves_of_several_runs_have_a_column_each():
    files = curve_files({"one": ROWS, "two": ROWS[:2]})
    assert table(files["grpo_reward.csv"]) == [
        ["step", "one", "two"],
        ["1", repr(1 / 7), repr(1 / 7)],
        ["2", repr(2 / 7), ""],
        ["3", repr(3 / 7), ""],
    ]


def test_a_run_that_learned_nothing_has_none():
    assert curve_files({"run": []}) == {}
