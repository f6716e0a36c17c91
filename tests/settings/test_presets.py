"""The presets, and combinations of options that cannot work."""

from dataclasses import replace

import pytest

from emsa_jax.errors import InputError
from emsa_jax.settings.presets import PRESETS, cd_grpo, cd_grpo_hint


def test_presets_hold_the_papers_numbers():
    for name in ("cd_grpo", "cd_grpo_hint"):
        config = PRESETS[name]()
        optimizer = config.grpo.optimizer
        assert (config.grpo.group_size, config.grpo.epochs, config.grpo.prompts_per_step) == (4, 3, 64)
        assert (config.sampling.temperature, config.sampling.top_p) == (1.1, 0.93)
        assert (config.loss.beta, config.loss.kind, config.dtype) == (0.04, "grpo", "bfloat16")
        assert (optimizer.learning_rate, optimizer.clip_norm) == (1e-6, 0.1) and optimizer.weight_decay > 0
        assert (config.format, config.dataset) == ("concepts", "ch_cems")
        assert set(config.reward.weights.values()) == {1.0} and config.reward.partial_credit == 0
    assert cd_grpo().hint.mode == "off" and cd_grpo_hint().hint.mode == "hint"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "class_only"}, "class_only answers have nothing to hint at"),
        ({"format": "dc"}, "format=dc know polarity, not 'sentiment\\+concepts'"),
        ({"hint": {"levels": "polarity"}}, "know sentiment, sentiment\\+concepts, not 'polarity'"),
        ({"hint": {"polarity_nll": 0.1}}, "polarity_nll"),
        ({"hint": {"metric": "total"}, "reward": {"class_balance": "inverse"}}, "hint.metric=accuracy"),
        ({"sft": {"targets": "labels"}}, "sft.targets"),
    ],
)
def test_combinations_that_cannot_work_are_refused(change, message):
    config = cd_grpo_hint()
    with pytest.raises(InputError, match=message):
        replace(
            config,
            **{
                name: replace(getattr(config, name), **value) if isinstance(value, dict) else value
                for name, value in change.items()
            },
        )
