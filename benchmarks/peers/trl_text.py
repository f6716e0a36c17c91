"""TRL's GRPOTrainer on the text shape of grpo_step.py: a random Thinker, answers of forced length, no network.

Prints the seconds of each counted step as JSON: rollout (generation), reference (with rewards), update, step.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_DISABLED="true")

import torch
from common import LORA_TARGETS, VOCABULARY, arguments, make_thinker
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOTrainer
from trl_settings import trl_config


class Clock(TrainerCallback):
    """Seconds of every step, and of the trainer's methods inside it."""

    def __init__(self):
        self.spent: dict[str, list[float]] = {"step": []}

    def on_step_begin(self, *_, **__):
        self.begun = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.spent["step"].append(time.perf_counter() - self.begun)

    def watch(self, trainer, method: str, name: str):
        inner, seconds = getattr(trainer, method), self.spent.setdefault(name, [])

        def timed(*args, **kwargs):
            begun = time.perf_counter()
            result = inner(*args, **kwargs)
            seconds.append(time.perf_counter() - begun)
            return result

        setattr(trainer, method, timed)


def tokenizer():
    """Words t0 ... tN, one token each."""
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCABULARY)}, unk_token="t5"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="t0", eos_token="t1", bos_token="t2", unk_token="t5"
    )


def main(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    words = torch.randint(32, VOCABULARY, (args.prompts * (args.steps + 3), args.prompt_tokens)).tolist()
    data = Dataset.from_dict({"prompt": [" ".join(f"t{i}" for i in row) for row in words]})
    config = trl_config(
        prompts=args.prompts,
        group=args.group,
        new=args.new,
        steps=args.steps,
        generation_kwargs={"min_new_tokens": args.new, "suppress_tokens": list(range(10, 17))},
    )

    def reward(completions, **_):
        return [sum(int(word[1:]) % 7 for word in text.split()) / args.new for text in completions]

    clock = Clock()
    trainer = GRPOTrainer(
        model=make_thinker(args),
        reward_funcs=reward,
        args=config,
        train_dataset=data,
        processing_class=tokenizer(),
        peft_config=LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules=LORA_TARGETS),
        callbacks=[clock],
    )
    clock.watch(trainer, "_generate", "rollout")
    clock.watch(trainer, "_generate_and_score_completions", "scored")
    trainer.train()
    rows = zip(clock.spent["rollout"], clock.spent["scored"], clock.spent["step"], strict=True)
    steps = [
        {"rollout": rollout, "reference": scored - rollout, "update": step - scored, "step": step}
        for rollout, scored, step in rows
    ]
    lengths = [row["completions/mean_length"] for row in trainer.state.log_history if "completions/mean_length" in row]
    assert all(length == args.new for length in lengths), lengths
    print(json.dumps(steps[1:]))


if __name__ == "__main__":
    main(arguments())
