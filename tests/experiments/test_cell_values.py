"""The hard set of a table: which clips are in it, by the hints of the table's base config."""

import json

import pytest

from emsa_jax.experiments.cell_values import hard_set, write_hard_set
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import HintOptions

REWARDS = {"none": [0.0, 0.5], "one": [0.0, 2.5], "both": [2.5, 3.0], "unknown": [0.0, 0.0]}


@pytest.mark.parametrize(
    "hint, hard",
    [
        (HintOptions(), {"none"}),
        (HintOptions(trigger_fraction=0.5), {"none", "one"}),
        (HintOptions(threshold=2.8), {"none", "one"}),
        (HintOptions(threshold=2.8, trigger_fraction=0.5), {"none", "one", "both"}),
        (HintOptions(metric="score", threshold=0.1), {"none"}),
    ],
    ids=["default", "half fail", "threshold", "both", "another part"],
)
def test_the_hard_set_follows_the_hints_of_the_base(tmp_path, hint, hard):
    directory = tmp_path / "evaluate" / "sft" / "train"
    directory.mkdir(parents=True)
    rows = [
        {"id": id_, "target": None if id_ == "unknown" else 0.5, "about": {}, "sampled_rewards": rewards}
        for id_, rewards in REWARDS.items()
    ]
    (directory / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_hard_set(tmp_path, 2, hint, RewardOptions(), "polarity")
    assert hard_set(tmp_path) == hard
