import subprocess
import sys
from dataclasses import replace

import pytest

from emsa_jax.config.fields import leaves
from emsa_jax.data.data_options import MixOptions
from emsa_jax.errors import InputError
from emsa_jax.learning.learning_options import LossOptions, OptimizerOptions
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions, SamplingOptions
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import JOBS
from emsa_jax.training.training_options import GrpoOptions, SftOptions

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


@pytest.mark.parametrize(
    "change, named",
    [
        ({"stages": ()}, "stages: there is nothing to do"),
        ({"export": ()}, "export: nothing would be exported"),
        ({"modality_dropout": dict.fromkeys(("text", "audio", "video"), 1.0)}, "modality_dropout: every modality"),
    ],
)
def test_values_that_cannot_work_together_are_refused(change, named):
    with pytest.raises(InputError, match=named):
        replace(Config(), **change)


@pytest.mark.parametrize(
    "make, named",
    [
        (
            lambda: GrpoOptions(max_steps=4, optimizer=OptimizerOptions(warmup=5)),
            "warmup of 5 updates is longer",
        ),
        (
            lambda: SftOptions(max_steps=4, optimizer=OptimizerOptions(warmup=5)),
            "warmup of 5 updates is longer",
        ),
        (lambda: SamplingOptions(temperature=1e-30), "sampling.temperature must be 0"),
        (lambda: HintOptions(temperature=1e-30), "hint.temperature must be 0"),
        (lambda: MixOptions(data=("a",), weights=(0.0, 0.0)), "mix.weights: all of them are 0"),
        (lambda: LossOptions(delta=0.5), "loss.delta must be above 1"),
        (lambda: OptimizerOptions(weight_decay=-0.1), "weight_decay must be at least 0"),
        (lambda: OptimizerOptions(b2=1.0), "b2 must be at least 0 and below 1"),
        (lambda: PromptOptions(modalities=()), "prompt.modalities"),
    ],
)
def test_values_that_cannot_work_are_refused(make, named):
    with pytest.raises(InputError, match=named):
        make()


def test_a_warmup_of_the_whole_run_can_work():
    assert GrpoOptions(max_steps=4, optimizer=OptimizerOptions(warmup=4)).optimizer.warmup == 4
    assert GrpoOptions(max_steps=3, num_iterations=2, optimizer=OptimizerOptions(warmup=6)).num_iterations == 2
