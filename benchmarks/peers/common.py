"""What the peers share: their arguments and a random Thinker of the benchmark's dimensions."""

from __future__ import annotations

import argparse
import os

import torch
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

HIDDEN, LAYERS, HEADS, VOCABULARY = 256, 4, 4, 2048
LORA_TARGETS = r".*(model|language_model)\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {
    "3B": dict(hidden=2048, ffn=11008, layers=36, heads=16, key_heads=2, vocabulary=151936),
    "7B": dict(hidden=3584, ffn=18944, layers=28, heads=28, key_heads=4, vocabulary=152064),
}


def arguments() -> argparse.Namespace:
    """The sizes that grpo_step.py passes on; torch takes every visible core."""
    parser = argparse.ArgumentParser()
    for name in ("prompts", "group", "new", "prompt-tokens", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--policy", choices=("small", *SIZES), default="small")
    parser.add_argument("--shape", choices=("text", "audio_video"), default="text")
    parser.add_argument("--remat", default="none")
    parser.add_argument("--bfloat16", action="store_true")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return parser.parse_args()


def make_thinker(args: argparse.Namespace):
    """A Thinker with random weights."""
    with torch.device(DEVICE):
        model = make_small() if args.policy == "small" else make_released(args.policy)
    model.generation_config.update(pad_token_id=0, eos_token_id=1, bos_token_id=2)
    model.config._name_or_path = ""
    if args.remat == "full":
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    return model.to(torch.bfloat16) if args.bfloat16 else model


def make_released(name: str):
    """A released size; media tokens have the ids of the small one."""
    size = SIZES[name]
    text = dict(
        vocab_size=size["vocabulary"],
        hidden_size=size["hidden"],
        intermediate_size=size["ffn"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        pad_token_id=0,
        eos_token_id=1,
        num_key_value_heads=size["key_heads"],
        max_position_embeddings=32768,
        bos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    )
    audio = dict(
        d_model=1280,
        encoder_layers=32,
        encoder_attention_heads=20,
        encoder_ffn_dim=5120,
        output_dim=size["hidden"],
        num_mel_bins=128,
    )
    vision = dict(
        depth=32,
        hidden_size=1280,
        intermediate_size=3420,
        num_heads=16,
        out_hidden_size=size["hidden"],
        fullatt_block_indexes=[7, 15, 23, 31],
    )
    return thinker(text, audio, vision)


def make_small():
    """The size that grpo_step.py calls small."""
    half = HIDDEN // HEADS // 2
    text = dict(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [half // 4, half * 3 // 8, half * 3 // 8],
        },
    )
    audio = dict(
        d_model=64,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=128,
        output_dim=HIDDEN,
        num_mel_bins=128,
    )
    vision = dict(
        depth=2, hidden_size=64, intermediate_size=128, num_heads=2, out_hidden_size=HIDDEN, fullatt_block_indexes=[1]
    )
    return thinker(text, audio, vision)


def thinker(text: dict, audio: dict, vision: dict):
    """The model of three configurations."""
    return Qwen2_5OmniThinkerForConditionalGeneration(
        Qwen2_5OmniThinkerConfig(
            text_config=text,
            audio_config=audio,
            vision_config=vision,
            audio_token_index=10,
            image_token_index=11,
            video_token_index=12,
            audio_start_token_id=13,
            audio_end_token_id=14,
            vision_start_token_id=15,
            vision_end_token_id=16,
            position_id_per_seconds=25,
            seconds_per_chunk=2,
            pad_token_id=0,
        )
    )
