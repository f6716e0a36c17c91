"""Named configurations: the embedded world, and the papers' hyper-parameters."""

from __future__ import annotations

from dataclasses import replace

from ml_collections import ConfigDict

from emsa_jax.config.edge import to_config_dict
from emsa_jax.data.data_options import PrepareOptions, PuppetOptions, ReadingOptions
from emsa_jax.data.dataset_options import CrossDataset
from emsa_jax.errors import InputError
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.experiments.arms import TABLES
from emsa_jax.learning.learning_options import LossOptions, OptimizerOptions
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.rewards.claim_parts import CLAIM_PARTS
from emsa_jax.rewards.parts import PARTS
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions, SamplingOptions
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import AblationOptions, PlanOptions
from emsa_jax.training.training_options import GrpoOptions, SftOptions


def embedded() -> Config:
    """Puppets and tiny: learning rates that suit a small policy without a pretrained base."""
    return Config(
        cross=CrossDataset("puppets:zh", asked_as="train"),
        puppets=PuppetOptions(trace_share=1.0, resolved=0.9),
        reward=RewardOptions(dict.fromkeys(PARTS, 1.0) | dict.fromkeys(CLAIM_PARTS, 1.0), gate_hinted=True),
        prepare=PrepareOptions(num_frames=4, frame_format="raw"),
        lora=LoraOptions(rank=16, alpha=32.0),
        sampling=SamplingOptions(max_completion_length=56),
        evaluate=EvaluateOptions(samples=2),
        loss=LossOptions(kind="grpo", beta=0.04),
        sft=SftOptions(
            trainable="all",
            epochs=200.0,
            batch_size=16,
            eval_every=16,
            patience=6,
            save_every=16,
            remat="none",
            optimizer=OptimizerOptions(2e-3, warmup=0.02, schedule="constant", b2=0.98, weight_decay=0.05),
        ),
        grpo=GrpoOptions(
            group_size=8,
            prompts_per_step=16,
            epochs=0.0,
            max_steps=120,
            micro_batches=2,
            save_every=20,
            remat="none",
            optimizer=OptimizerOptions(4e-3, warmup=0.0834, schedule="cosine", b2=0.95),
        ),
    )


def embedded_papers() -> Config:
    """The embedded default with the papers' rewards alone, and a teacher that most contradictions fool: the arms of the
    papers' tables begin there."""
    config = embedded()
    return replace(config, puppets=PuppetOptions(), reward=RewardOptions(), sft=replace(config.sft, patience=3))


def paper() -> Config:
    """MSA-Thinker and C2F-Thinker: G 4, beta 0.1, learning rates 1e-5; the loss as equation 6 prints it. bfloat16 and
    as few micro-batches as fit are ours."""
    return Config(
        policy="",
        data="",
        dtype="bfloat16",
        loss=LossOptions(kind="seq_sum", beta=0.1),
        sft=SftOptions(micro_batches=0),
        grpo=GrpoOptions(micro_batches=0),
    )


def cd_grpo() -> Config:
    """CD-GRPO on CH-CEMS (its section 5.1): G 4, temperature 1.1, top-p 0.93, beta 0.04, learning rate 1e-6, gradients
    clipped at norm 0.1, AdamW, bfloat16, 3 epochs; 3 classes. Its steps hold 8 devices x 8 answers x 4 accumulation
    steps, which is 64 prompts. The paper gives no weight decay: 0.1 is our choice."""
    optimizer = OptimizerOptions(1e-6, warmup=0.03, weight_decay=0.1, b2=0.95, clip_norm=0.1)
    return Config(
        policy="",
        data="",
        dataset="ch_cems",
        format="concepts",
        dtype="bfloat16",
        sampling=SamplingOptions(temperature=1.1, top_p=0.93),
        loss=LossOptions(kind="grpo", beta=0.04),
        hint=HintOptions(mode="off", metric="accuracy", levels="sentiment+concepts"),
        sft=SftOptions(micro_batches=0),
        grpo=GrpoOptions(group_size=4, prompts_per_step=64, epochs=3.0, micro_batches=0, optimizer=optimizer),
    )


def cd_grpo_hint() -> Config:
    """CD-GRPO in which groups that all name the wrong class are told it and the concepts: no paper has tried it."""
    plain = cd_grpo()
    return replace(plain, hint=replace(plain.hint, mode="hint"))


def embedded_concepts() -> Config:
    """CD-GRPO with hints on annotated puppets and tiny."""
    small = embedded_papers()
    return replace(
        small,
        data="puppets:concepts_en",
        cross=CrossDataset(),
        format="concepts",
        hint=cd_grpo_hint().hint,
        sampling=replace(small.sampling, max_completion_length=80),
        puppets=PuppetOptions(trace_share=0.2),
    )  # the filter drops more of them here


def smol() -> Config:
    """SmolLM2-135M and Whisper-base, which `make weights` puts together, on a laptop: scores alone, learned from labels
    and words by LoRA at a learning rate that suits it. Sound is heard once `prompt.modalities` names it and its
    projection was trained."""
    return Config(
        policy="weights/smol",
        data="",
        format="label_only",
        read=ReadingOptions(valid_share=0.1),
        prompt=PromptOptions(modalities=("text",), capitals="lowered"),
        lora=LoraOptions(rank=16, alpha=128.0),
        sampling=SamplingOptions(max_completion_length=16),
        hint=HintOptions(mode="off"),
        loss=LossOptions(kind="grpo", beta=0.04),
        evaluate=EvaluateOptions(samples=0, decode="expected"),
        sft=SftOptions(
            targets="labels",
            epochs=0.0,
            max_steps=120,
            batch_size=8,
            micro_batches=0,
            eval_every=40,
            save_every=40,
            optimizer=OptimizerOptions(5e-4, warmup=0.03, weight_decay=0.01, b2=0.95),
        ),
        grpo=GrpoOptions(
            prompts_per_step=8,
            micro_batches=0,
            epochs=0.0,
            max_steps=60,
            optimizer=OptimizerOptions(1e-4, warmup=0.03, weight_decay=0.01, b2=0.95),
        ),
    )


def omni_3b() -> Config:
    """Qwen2.5-Omni-3B on one GPU of 24 to 48 GB: the papers' method with an adapter of rank 16, few answers at a time,
    and a learning rate that suits LoRA; the memory is that of docs/parts.md."""
    return replace(
        paper(),
        lora=LoraOptions(rank=16, alpha=32.0),
        sampling=SamplingOptions(max_completion_length=256),
        loss=LossOptions(kind="grpo", beta=0.04),
        evaluate=EvaluateOptions(batch_size=8),
        sft=SftOptions(
            batch_size=16, micro_batches=0, optimizer=OptimizerOptions(1e-4, warmup=0.03, weight_decay=0.01, b2=0.95)
        ),
        grpo=GrpoOptions(
            prompts_per_step=16,
            micro_batches=0,
            remat="full",
            optimizer=OptimizerOptions(2e-5, warmup=0.03, weight_decay=0.01, b2=0.95),
        ),
    )


BRIDGES = ("vision.bridge", "vision.proj", "audio.bridge", "audio.proj")  # with their projections


def xemogpt() -> Config:
    """XEmoGPT's stage 3 (section IV): 16 frames, Qwen3-4B with LoRA of rank 512 on q, k and v, bridges and projections
    trained, encoders frozen, three kinds of instruction, batches of 8 at 1e-5, bfloat16. Alpha, and how answers are
    drawn, are those of its public code; epochs and what follows by GRPO are ours. `config.policy` is a policy that
    configs/assemble.py made with both bridges (docs/bridges.md)."""
    plain = cd_grpo()
    return replace(
        plain,
        dataset="",
        format="describe",
        prepare=PrepareOptions(num_frames=16),
        lora=LoraOptions(rank=512, alpha=512.0, targets=("q_proj", "k_proj", "v_proj"), also=BRIDGES),
        sampling=SamplingOptions(temperature=0.3, top_p=0.9, max_completion_length=756),
        hint=HintOptions(mode="hint", metric="accuracy", levels="sentiment"),
        sft=SftOptions(
            asks=("both", "visual", "audio"),
            targets="cues",
            batch_size=8,
            micro_batches=0,
            optimizer=OptimizerOptions(1e-5, warmup=0.03, weight_decay=0.01, b2=0.95),
        ),
        grpo=replace(plain.grpo, prompts_per_step=16),
    )


def embedded_xemogpt() -> Config:
    """Stage 3 and GRPO on cue F1, on annotated puppets and tiny_xemogpt, whose parts are all random: so the cold start
    trains everything, and GRPO an adapter with bridges and projections."""
    small, paper_ = embedded_papers(), xemogpt()
    return replace(
        small,
        data="puppets:concepts_en",
        cross=CrossDataset(),
        policy="tiny_xemogpt",
        format="describe",
        hint=paper_.hint,
        lora=replace(paper_.lora, rank=16, alpha=32.0),
        sampling=replace(small.sampling, max_completion_length=80),
        sft=replace(small.sft, asks=paper_.sft.asks, targets="cues"),
    )


PRESETS = {
    "": embedded,
    "msa_thinker": paper,
    "c2f_thinker": lambda: replace(paper(), score_range=(-3.0, 3.0)),
    "cd_grpo": cd_grpo,
    "cd_grpo_hint": cd_grpo_hint,
    "puppets_concepts": embedded_concepts,
    "smol": smol,
    "xemogpt": xemogpt,
    "puppets_xemogpt": embedded_xemogpt,
    "omni_3b": omni_3b,
}


def preset_of(name: str, asked: str) -> Config:
    """A preset that another config file, `asked`, takes from configs/grpo.py. Raises: InputError naming those there
    are."""
    if name not in PRESETS:
        raise InputError(
            f"{asked}: {name!r} is no preset of configs/grpo.py; there are {', '.join(filter(None, PRESETS))}"
        )
    return PRESETS[name]()


def config_for(stages: tuple[str, ...], preset: str) -> ConfigDict:
    """The ConfigDict of a preset that runs `stages`. Raises: InputError naming the presets there are."""
    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r}; choose one of {', '.join(filter(None, PRESETS))}, or none")
    return to_config_dict(replace(PRESETS[preset](), stages=stages))


SHARED = ("dtype", "attention", "mesh", "lora", "sampling", "hint", "loss", "grpo")  # fields, with a run's Config


def plan_options(preset: str) -> PlanOptions:
    """What a run of a preset of configs/grpo.py would need; "": G 8 and else the papers' choices."""
    if not preset:
        return PlanOptions()
    config = preset_of(preset, "configs/plan.py")
    return PlanOptions(**{name: getattr(config, name) for name in SHARED})


def bench() -> Config:
    """Puppets and steps as few as still let a policy learn."""
    config = embedded_papers()
    return replace(
        config,
        puppets=PuppetOptions(num_train=512, num_valid=64, num_test=256, trace_share=0.25),
        evaluate=replace(config.evaluate, samples=0),
        sft=replace(
            config.sft,
            epochs=0.0,
            max_steps=96,
            eval_every=32,
            save_every=96,
            optimizer=replace(config.sft.optimizer, warmup=0.209),
        ),
        grpo=replace(
            config.grpo,
            group_size=4,
            prompts_per_step=16,
            max_steps=40,
            save_every=40,
            optimizer=OptimizerOptions(2e-3, warmup=0.125, schedule="constant", b2=0.95),
        ),
    )


def ablation_options(preset: str) -> AblationOptions:
    """hint, hints, cross_domain, format, modality: that table on the embedded default, or as "hint@msa_thinker" on
    another preset of configs/grpo.py. bench: all of them, small."""
    if preset == "bench":
        return AblationOptions(tables=tuple(TABLES), base=bench())
    table, _, base = preset.partition("@")
    if table not in TABLES:
        raise InputError(f"configs/ablation.py: name a table, one of {', '.join(TABLES)}, or bench, not {preset!r}")
    config = preset_of(base, "configs/ablation.py") if base else embedded_papers()
    return AblationOptions(tables=(table,), base=config)
