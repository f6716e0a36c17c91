"""Which curves a run's page shows, by the names of metrics.jsonl."""

from collections.abc import Mapping
from typing import NamedTuple


class Curve(NamedTuple):
    """names: of metrics.jsonl -> as the legend says it; the first stands for the rest where runs are compared."""

    title: str
    unit: str
    names: Mapping[str, str]
    stage: str = "grpo"
    zero: bool = False
    smooth: bool = True
    across: str = "GRPO step"


CURVES = (
    Curve("Alignment by gradient: loss", "nats a token", {"loss": "loss"}, "align", True, across="update"),
    Curve("Cold start: loss", "nats a token", {"loss": "loss"}, "sft", True, across="update"),
    Curve("Cold start: validation", "mean reward", {"eval/reward": "eval/reward"}, "sft", True, False, "update"),
    Curve("Reward", "mean of all answers", {"reward": "reward (before hints)", "reward_train": "reward_train (after)"}),
    Curve(
        "Reward parts, before hints",
        "mean of all answers",
        {
            "rewards/polarity/mean": "polarity",
            "rewards/score/mean": "score",
            "rewards/format/mean": "format",
            "rewards/accuracy/mean": "accuracy",
            "rewards/concept/mean": "concept",
        },
    ),
    Curve(
        "Reward parts, after hints",
        "mean of all answers",
        {
            "rewards_train/polarity/mean": "polarity",
            "rewards_train/score/mean": "score",
            "rewards_train/format/mean": "format",
            "rewards_train/accuracy/mean": "accuracy",
            "rewards_train/concept/mean": "concept",
        },
    ),
    Curve("Spread within a group", "reward", {"reward_std": "reward_std"}, zero=True),
    Curve(
        "Hints",
        "share",
        {
            "hint/trigger_rate": "hard prompts",
            "hint/rescued_rate": "rescued of hinted",
            "hint/contradict_rate": "hint contradicted",
        },
        zero=True,
    ),
    Curve("True polarity on hard prompts", "log-probability, nats", {"hint/prefix_logp": "hint/prefix_logp"}),
    Curve("KL to the cold start", "nats a token", {"kl": "kl"}, zero=True),
    Curve("Entropy", "nats a token", {"entropy": "entropy"}, zero=True),
    Curve(
        "Length of answers",
        "tokens",
        {"completions/mean_length": "mean", "completions/max_length": "longest", "completions/min_length": "shortest"},
        zero=True,
    ),
    Curve(
        "Answers in good form",
        "share",
        {"completions/well_formed": "well formed", "completions/clipped_ratio": "cut off"},
        zero=True,
    ),
    Curve("Validation, greedy answers", "mean reward", {"eval/reward": "eval/reward"}, smooth=False),
    Curve(
        "Validation: do answers differ",
        "share",
        {
            "eval/accuracy": "right class",
            "eval/commonest_answer": "commonest answer",
            "eval/commonest_class": "commonest class",
            "eval/unparsed": "cannot be read",
        },
        zero=True,
        smooth=False,
    ),
    Curve("Loss", "loss", {"loss": "loss"}),
    Curve("Gradient norm", "norm before clipping", {"grad_norm": "grad_norm"}, zero=True),
    Curve("Learning rate", "rate", {"learning_rate": "learning_rate"}, zero=True, smooth=False),
    Curve(
        "Sampler against learner",
        "largest gap, nats",
        {"sampling/logp_difference_max": "logp_difference_max"},
        zero=True,
    ),
)

TIME = {
    "time/encode": "media",
    "time/prefill": "prompt",
    "time/decode": "answers",
    "time/hint": "hinted answers",
    "time/reward": "rewards",
    "time/reference": "reference",
    "time/old": "old policy",
    "time/update": "update",
    "time/other": "other",
    "data_time": "waiting for data",
}
