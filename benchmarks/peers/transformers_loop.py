"""A plain `transformers` + PEFT loop on the shapes of grpo_step.py.

TRL's trainer forwards no sound and no video, so this is the loop that one writes by hand: media and prompt repeated
for each answer, `generate` with its cache, the reference by switching the adapter off, clipped loss with k3 KL, AdamW.
Prints the seconds of each counted step as JSON.
"""

from __future__ import annotations

import json
import os
import time

os.environ.update(HF_HUB_OFFLINE="1")

import torch
from common import DEVICE, LORA_TARGETS, VOCABULARY, arguments, make_thinker
from peft import LoraConfig, get_peft_model

SECONDS_OF_SOUND, FRAMES, PIXELS = 8, 16, 112
MEL = 100 * SECONDS_OF_SOUND
AUDIO_TOKENS = ((MEL - 1) // 2 + 1 - 2) // 2 + 1
GRID = (FRAMES // 2, PIXELS // 14, PIXELS // 14)
PATCHES = GRID[0] * GRID[1] * GRID[2]


def random_batch(args) -> dict:
    """Prompts, with sound and frames where the shape has them, each repeated for the answers of its group."""
    n = args.prompts
    if args.shape == "text":
        ids = torch.randint(32, VOCABULARY, (n, args.prompt_tokens), device=DEVICE).repeat_interleave(args.group, 0)
        return dict(input_ids=ids, attention_mask=torch.ones_like(ids))
    head = torch.tensor([15] + [12] * (PATCHES // 4) + [16, 13] + [10] * AUDIO_TOKENS + [14])
    ids = torch.cat([head.repeat(n, 1), torch.randint(32, VOCABULARY, (n, args.prompt_tokens))], dim=1)
    batch = dict(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        input_features=torch.randn(n, 128, MEL),
        feature_attention_mask=torch.ones(n, MEL, dtype=torch.long),
        pixel_values_videos=torch.randn(n, PATCHES, 3 * 2 * 14 * 14),
        video_grid_thw=torch.tensor([GRID] * n),
        video_second_per_grid=torch.ones(n),
    )
    batch = {name: value.repeat_interleave(args.group, 0) for name, value in batch.items()}
    batch["pixel_values_videos"] = batch["pixel_values_videos"].flatten(0, 1)
    dtype = torch.bfloat16 if args.bfloat16 else torch.float32
    return {name: value.to(DEVICE, dtype if value.is_floating_point() else None) for name, value in batch.items()}


def waited() -> float:
    """The time, when the device has finished all that was sent to it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def logprobs(model, batch: dict, whole: torch.Tensor, new: int) -> torch.Tensor:
    """Of the last `new` tokens of each row."""
    inputs = {**batch, "input_ids": whole, "attention_mask": torch.ones_like(whole)}
    logits = model(**inputs, use_cache=False).logits[:, -new - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, whole[:, -new:, None])[..., 0]


def main(args) -> None:
    torch.manual_seed(0)
    model = get_peft_model(make_thinker(args), LoraConfig(r=16, lora_alpha=32, target_modules=LORA_TARGETS))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    steps = []
    for _ in range(args.steps + 1):
        batch, times = random_batch(args), {}
        begun = waited()
        with torch.no_grad():
            whole = model.generate(
                **batch,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                min_new_tokens=args.new,
                max_new_tokens=args.new,
                suppress_tokens=list(range(10, 17)),
            )
        times["rollout"], begun = waited() - begun, waited()
        assert whole.shape[1] == batch["input_ids"].shape[1] + args.new
        rewards = (whole[:, -args.new :] % 7).float().mean(1).view(-1, args.group)
        spread = rewards.std(1, keepdim=True) + 1e-4
        advantage = ((rewards - rewards.mean(1, keepdim=True)) / spread).view(-1, 1)
        with torch.no_grad(), model.disable_adapter():
            reference = logprobs(model, batch, whole, args.new)
        times["reference"], begun = waited() - begun, waited()
        new = logprobs(model, batch, whole, args.new)
        ratio, gap = torch.exp(new - new.detach()), reference - new
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        loss = (0.04 * (gap.exp() - gap - 1) - surrogate).mean(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times["update"] = waited() - begun
        steps.append(times | {"step": sum(times.values())})
    print(json.dumps(steps[1:]))


if __name__ == "__main__":
    main(arguments())
