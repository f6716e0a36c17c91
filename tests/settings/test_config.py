import subprocess
import sys

import pytest

from emsa_jax.config.fields import leaves
from emsa_jax.errors import InputError
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import JOBS

HEAVY = ("jax", "grain", "orbax", "transformers", "array_record", "librosa", "scipy")


@pytest.mark.parametrize("options", [Config, *JOBS.values()])
def test_every_field_says_what_it_is(options):
    for leaf in leaves(options()):
        assert leaf.description is not None and leaf.description.source, leaf.path
        assert 5 < len(leaf.description.text) and "\n" not in leaf.description.text, leaf.path
        assert leaf.description.allows(leaf.value), leaf.path


def test_options_import_nothing_heavy():
    program = (
        "import sys, emsa_jax.settings.config, emsa_jax.settings.job_options, emsa_jax.settings.presets\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


RUNS = {
    "seed": (lambda: Config(seed=-1), "seed must be"),
    "a large seed": (lambda: Config(seed=2**31), "seed must be"),
    "no rank": (lambda: Config(lora=LoraOptions(rank=0)), "lora.rank"),
    "no target": (lambda: Config(lora=LoraOptions(targets=())), "lora.targets"),
    "bare scores": (lambda: Config(format="label_only"), "use hint.mode=off"),
    "a told polarity": (lambda: Config(format="label_only", hint=HintOptions(mode="off", polarity_nll=1.0)), "hint at"),
    "no such reward": (lambda: Config(hint=HintOptions(metric="tone", threshold=0.5)), "hint.metric: .tone. is none"),
    "no fraction": (lambda: Config(hint=HintOptions(trigger_fraction=0.0)), "hint.trigger_fraction"),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs_that_would_fail_after_hours_are_refused_before(name):
    make, message = RUNS[name]
    with pytest.raises(InputError, match=message):
        make()
    Config(format="label_only", hint=HintOptions(mode="off"))
    Config(reward=RewardOptions(plugins=("mine:tone",)), hint=HintOptions(metric="tone", threshold=0.5))
    Config(stages=("prepare", "sft"), format="label_only")
