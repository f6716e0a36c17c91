"""The GRPO steps of smol_speed.py by TRL's GRPOTrainer, on the same prompts. Prints seconds as JSON."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_DISABLED="true")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from datasets import Dataset
from peft import LoraConfig
from smol_speed import TARGETS, WORK, batches, measured
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOTrainer
from trl_settings import trl_config


class Clock(TrainerCallback):
    """Seconds of every step."""

    def __init__(self):
        self.seconds: list[float] = []

    def on_step_begin(self, *_, **__):
        self.begun = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds.append(time.perf_counter() - self.begun)


def tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Words t0 ... tN, one token each, so that prompts are the ids that the others get."""
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(vocabulary)}, unk_token="t5"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="t2", eos_token="t2", bos_token="t1", unk_token="t5"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", required=True)
    parser.add_argument("--raw", choices=("grpo",), required=True)
    parser.add_argument("--steps", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    work, new = WORK["grpo"], WORK["grpo"]["new"]
    prompts = [ids for step in batches("grpo", args.steps) for ids in step[0][0]]
    model = AutoModelForCausalLM.from_pretrained(args.text, dtype=torch.float32, trust_remote_code=False)
    config = trl_config(
        prompts=work["prompts"],
        group=work["group"],
        new=new,
        steps=args.steps,
        shuffle_dataset=False,
        generation_kwargs={"min_new_tokens": new},
    )

    def reward(completions, **_):
        return [sum(int(word[1:]) % 7 for word in text.split()) / new for text in completions]

    clock = Clock()
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [" ".join(f"t{i}" for i in ids) for ids in prompts]}),
        processing_class=tokenizer(model.config.vocab_size),
        peft_config=LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules=list(TARGETS)),
        callbacks=[clock],
    )
    trainer.train()
    lengths = [row["completions/mean_length"] for row in trainer.state.log_history if "completions/mean_length" in row]
    assert all(length == new for length in lengths), lengths
    print(measured(clock.seconds))


if __name__ == "__main__":
    main()
