import subprocess
import sys
from dataclasses import replace

import pytest

from emsa_jax.config.edge import from_config_dict, to_config_dict
from emsa_jax.config.fields import leaves
from emsa_jax.data.data_options import MixOptions, PrepareOptions, PuppetOptions
from emsa_jax.errors import InputError
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.learning.learning_options import AdvOptions, GuardOptions, LossOptions, OptimizerOptions
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import EncodingOptions, HintOptions, PromptOptions, SamplingOptions
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import JOBS
from emsa_jax.settings.presets import PRESETS
from emsa_jax.training.training_options import AlignOptions, GrpoOptions, SftOptions

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
        (lambda: OptimizerOptions(b2=1.0), "b2 must be at least 0 and at most 0.99999"),
        (lambda: OptimizerOptions(b2=0.99999999), "b2 must be .* a division by 0 in float32"),
        (lambda: OptimizerOptions(weight_decay=1e30), "weight_decay must be .* at most 1000"),
        (
            lambda: OptimizerOptions(1e-2, weight_decay=100.0),
            "weight_decay 100 times learning_rate 0.01 must be below 1",
        ),
        (lambda: OptimizerOptions(warmup=2.5), "warmup must be a share below 1, or a whole number"),
        (lambda: OptimizerOptions(learning_rate=0.0), "learning_rate must be above 0"),
        (lambda: OptimizerOptions(clip_norm=0.0), "clip_norm must be above 0"),
        (lambda: LossOptions(beta=1e38), "loss.beta must be"),
        (lambda: LossOptions(beta=-0.1), "loss.beta must be"),
        (lambda: LossOptions(epsilon=0.0), "loss.epsilon must be above 0"),
        (lambda: LossOptions(epsilon_high=0.0), "loss.epsilon_high must be above 0"),
        (lambda: LossOptions(top_entropy_quantile=0.0), "loss.top_entropy_quantile must be above 0"),
        (lambda: LoraOptions(alpha=1e30), "lora.alpha must be at least 0.001 and at most 1000000"),
        (lambda: LoraOptions(alpha=1e-30), "lora.alpha must be .* would leave the policy as it is"),
        (lambda: LoraOptions(rank=10**9), "lora.rank must be at least 1 and at most 65536"),
        (lambda: PrepareOptions(workers=10**9), "prepare.workers must be at least 0 and at most 1024"),
        (lambda: PrepareOptions(max_pixels=2**63), "prepare.max_pixels must be"),
        (lambda: PuppetOptions(num_train=2**63), "puppets.num_train must be"),
        (lambda: SamplingOptions(max_completion_length=10**12), "sampling.max_completion_length must be"),
        (lambda: EvaluateOptions(resamples=10**12), "evaluate.resamples must be"),
        (lambda: EvaluateOptions(samples=10**9), "evaluate.samples must be"),
        (lambda: GrpoOptions(group_size=10**9), "grpo.group_size must be"),
        (lambda: SftOptions(batch_size=2**63), "sft.batch_size must be at most 2147483647, not 9223372036854775808"),
        (lambda: MeshOptions(data=2**200), "mesh.data must be at most 2147483647, not a huge number"),
        (lambda: LoraOptions(targets=("q_proj", "text.q_proj")), "lora.targets: 'q_proj' is named twice"),
        (lambda: LoraOptions(also=("audio.proj", "audio.proj")), "lora.also: 'audio.proj' is named twice"),
        (lambda: SamplingOptions(temperature=1e30), "sampling.temperature must be .* at most 100"),
        (lambda: SamplingOptions(top_p=1e-30), "sampling.top_p must be .* would be the same"),
        (lambda: SamplingOptions(max_completion_length=0), "sampling.max_completion_length must be at least 1"),
        (lambda: HintOptions(temperature=1e30), "hint.temperature must be"),
        (lambda: HintOptions(polarity_nll=1e38), "hint.polarity_nll must be"),
        (lambda: HintOptions(threshold=float("inf")), "hint.threshold: must be"),
        (lambda: AdvOptions(min_std=-1.0), "adv.min_std must be"),
        (lambda: RewardOptions(weights={"format": float("inf")}), "reward.weights.format: must be a number from 0"),
        (lambda: RewardOptions(weights={"format": -1.0}), "reward.weights.format: must be a number from 0"),
        (lambda: RewardOptions(concept_weights={"tone": float("nan")}), "reward.concept_weights.tone"),
        (lambda: RewardOptions(partial_credit=1.0), "reward.partial_credit must be"),
        (lambda: PromptOptions(modalities=("text", "text")), "prompt.modalities: 'text' is named twice"),
        (lambda: PromptOptions(buckets=(64, 64)), "prompt.buckets: 64 is named twice"),
        (lambda: PromptOptions(buckets=(0,)), "prompt.buckets must be at least 1"),
        (lambda: SftOptions(epochs=0.0), "set epochs or max_steps"),
        (lambda: SftOptions(epochs=1e30), "sft.epochs must be"),
        (lambda: SftOptions(max_steps=10**12), "sft.max_steps must be"),
        (lambda: SftOptions(eval_every=0), "sft.eval_every must be at least 1"),
        (lambda: SftOptions(patience=0), "sft.patience must be at least 1"),
        (lambda: SftOptions(batch_size=6, micro_batches=4), "batch_size 6 must be a multiple"),
        (lambda: GrpoOptions(epochs=1e30), "grpo.epochs must be"),
        (lambda: GrpoOptions(max_steps=10**12), "grpo.max_steps must be"),
        (lambda: GrpoOptions(num_iterations=0), "grpo.num_iterations must be"),
        (lambda: GrpoOptions(num_iterations=10**6), "grpo.num_iterations must be"),
        (lambda: GrpoOptions(eval_every=-1), "grpo.eval_every must be"),
        (lambda: GrpoOptions(group_size=1), "grpo.group_size must be at least 2"),
        (lambda: GrpoOptions(group_size=4, answer_rows=(5,)), "answer_rows must be between"),
        (lambda: GuardOptions(max_bad_steps=0), "guard.max_bad_steps must be"),
        (lambda: GuardOptions(collapse=1.5), "guard.collapse must be"),
        (lambda: GuardOptions(unparsed=-0.5), "guard.unparsed must be"),
        (lambda: AlignOptions(towers=("audio", "audio")), "align.towers: 'audio' is named twice"),
        (lambda: AlignOptions(ridge=1e30), "align.ridge must be"),
        (lambda: AlignOptions(max_steps=10**12), "align.max_steps must be"),
        (lambda: EncodingOptions(max_gb=-1.0), "encodings.max_gb must be"),
        (lambda: MeshOptions(tensor=-1), "mesh.tensor must be"),
        (lambda: Config(score_range=(1.0, -1.0)), "score_range must be two numbers that rise"),
        (lambda: Config(stages=("grpo", "grpo")), "stages: 'grpo' is named twice"),
        (lambda: Config(sampling=SamplingOptions(temperature=0.0)), "all answers of a group would be the same"),
        (lambda: PromptOptions(modalities=()), "prompt.modalities"),
    ],
)
def test_values_that_cannot_work_are_refused(make, named):
    with pytest.raises(InputError, match=named):
        make()


@pytest.mark.parametrize("path", [leaf.path for leaf in leaves(Config()) if type(leaf.value) in (int, float)])
def test_no_number_of_a_run_may_be_infinite_or_none(path):
    """Every field of a number, at the edge where a user gives it."""
    for value in ("inf", "-inf", "nan"):
        given = to_config_dict(Config())
        *groups, name = path.split(".")
        group = given
        for part in groups:
            group = group[part]
        with group.ignore_type():
            group[name] = float(value)
        with pytest.raises(InputError, match=f"config.{path}"):
            from_config_dict(Config, given)


def test_every_preset_warms_up_for_a_part_of_its_steps():
    for make in PRESETS.values():
        for stage in (make().sft, make().grpo):
            assert stage.optimizer.warmup < 1


def test_a_warmup_of_the_whole_run_can_work():
    assert GrpoOptions(max_steps=4, optimizer=OptimizerOptions(warmup=4)).optimizer.warmup == 4
    assert GrpoOptions(max_steps=3, num_iterations=2, optimizer=OptimizerOptions(warmup=6)).num_iterations == 2
