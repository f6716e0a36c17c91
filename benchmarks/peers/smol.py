"""What smol_speed.py measures, by `transformers` + PEFT: the loops that one writes by hand. Prints seconds as JSON."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from peft import LoraConfig, get_peft_model
from smol_speed import TARGETS, WORK, batches, measured
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM

PAD, END = 2, 2


def padded(prompts: list[list[int]]):
    """(ids, mask), filled up on the left to the longest."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(row)) + row for row in prompts])
    return ids, torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])


def logps_of(model, ids, mask, new: int):
    """Log-probabilities [rows, new] of the last tokens."""
    logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=new + 1).logits[:, :-1]
    return log_softmax(logits.float(), -1).gather(-1, ids[:, -new:, None])[..., 0]


def sft(model, optimizer, prompts, answers, work):
    ids, mask = padded(prompts)
    answers = torch.tensor(answers)
    ids, mask = torch.cat([ids, answers], 1), torch.cat([mask, torch.ones_like(answers)], 1)
    labels = ids.clone()
    labels[:, : -answers.shape[1]] = -100
    model.train()
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    finish(model, optimizer)


def greedy(model, optimizer, prompts, answers, work):
    ids, mask = padded(prompts)
    model.eval()
    with torch.no_grad():
        length = dict(max_new_tokens=work["new"], min_new_tokens=work["new"])
        model.generate(input_ids=ids, attention_mask=mask, do_sample=False, pad_token_id=PAD, **length)


def grpo(model, optimizer, prompts, answers, work):
    g, new = work["group"], work["new"]
    ids, mask = (t.repeat_interleave(g, 0) for t in padded(prompts))
    model.eval()
    with torch.no_grad():
        length = dict(max_new_tokens=new, min_new_tokens=new)
        ids = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0, pad_token_id=PAD, **length
        )
        mask = torch.cat([mask, torch.ones(len(mask), new, dtype=mask.dtype)], 1)
        with model.disable_adapter():
            reference = logps_of(model, ids, mask, new)
    rewards = (ids[:, -new:] % 7).float().mean(-1).reshape(-1, g)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).reshape(-1, 1)
    model.train()
    logps = logps_of(model, ids, mask, new)
    gap = reference - logps
    ratio = torch.exp(logps - logps.detach())
    loss = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages) + 0.04 * (gap.exp() - gap - 1)
    loss.mean().backward()
    finish(model, optimizer)


def finish(model, optimizer):
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", required=True)
    parser.add_argument("--raw", choices=tuple(WORK), required=True)
    parser.add_argument("--steps", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = AutoModelForCausalLM.from_pretrained(args.text, dtype=torch.float32, trust_remote_code=False)
    if args.raw != "greedy":
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=list(TARGETS)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    run, seconds = {"grpo": grpo, "greedy": greedy}.get(args.raw, sft), []
    for step in batches(args.raw, args.steps):
        begun = time.perf_counter()
        for prompts, answers in step:
            run(model, optimizer, prompts, answers, WORK[args.raw])
        seconds.append(time.perf_counter() - begun)
    print(measured(seconds))


if __name__ == "__main__":
    main()
