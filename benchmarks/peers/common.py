"""What the peers share: their arguments and a random Thinker of the benchmark's dimensions."""
from __future__ import annotations

import argparse
import os

import torch
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

HIDDEN, LAYERS, HEADS, VOCABULARY = 256, 4, 4, 2048
LORA_TARGETS = (r".*(model|language_model)\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)")


def arguments() -> argparse.Namespace:
    """The sizes that grpo_step.py passes on; torch takes every visible core."""
    parser = argparse.ArgumentParser()
    for name in ("prompts", "group", "new", "prompt-tokens", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return parser.parse_args()


def make_thinker():
    """A Thinker with random weights."""
    half = HIDDEN // HEADS // 2
    text = dict(vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=3 * HIDDEN, num_hidden_layers=LAYERS,
                num_attention_heads=HEADS, num_key_value_heads=2, max_position_embeddings=4096, pad_token_id=0,
                eos_token_id=1, bos_token_id=2,
                rope_parameters={"rope_type": "default", "rope_theta": 1e6,
                                 "mrope_section": [half // 4, half * 3 // 8, half * 3 // 8]})
    audio = dict(d_model=64, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=128, output_dim=HIDDEN,
                 num_mel_bins=128)
    vision = dict(depth=2, hidden_size=64, intermediate_size=128, num_heads=2, out_hidden_size=HIDDEN,
                  fullatt_block_indexes=[1])
    model = Qwen2_5OmniThinkerForConditionalGeneration(Qwen2_5OmniThinkerConfig(
        text_config=text, audio_config=audio, vision_config=vision, audio_token_index=10, image_token_index=11,
        video_token_index=12, audio_start_token_id=13, audio_end_token_id=14, vision_start_token_id=15,
        vision_end_token_id=16, position_id_per_seconds=25, seconds_per_chunk=2, pad_token_id=0))
    model.generation_config.update(pad_token_id=0, eos_token_id=1, bos_token_id=2)
    model.config._name_or_path = ""
    return model
