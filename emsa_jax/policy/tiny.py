"""Tiny: a policy of the Thinker's architecture and file formats with random weights and a tokenizer of its own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import jax

from emsa_jax.policy import hf
from emsa_jax.policy.media_tokens import CHAT_TEMPLATE
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.preprocessor import Preprocessor
from emsa_jax.policy.processor_files import preprocessor_settings
from emsa_jax.policy.thinker_config import (
    AudioConfig,
    BridgeConfig,
    ClipConfig,
    TextConfig,
    ThinkerConfig,
    VisionConfig,
)

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
    "<|vision_pad|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
)
# words, single digits, runs of signs with the line breaks after them: tags and hints end where a token ends
PIECES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"


def tiny_config(ids: dict[str, int], vocab_size: int, bridged: bool = False) -> ThinkerConfig:
    """About 1.6 M parameters. ids: special token -> id. bridged: with the parts of XEmoGPT, CLIP and two bridges."""
    config = ThinkerConfig(
        text=TextConfig(
            vocab_size=vocab_size,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            mrope_section=(4, 6, 6),
            rope_theta=1e4,
        ),
        audio=AudioConfig(
            d_model=96, encoder_layers=2, encoder_attention_heads=3, encoder_ffn_dim=256, n_window=64, output_dim=128
        ),
        vision=VisionConfig(
            depth=2, hidden_size=64, intermediate_size=160, num_heads=2, fullatt_block_indexes=(1,), out_hidden_size=128
        ),
        audio_token_id=ids["<|AUDIO|>"],
        image_token_id=ids["<|IMAGE|>"],
        video_token_id=ids["<|VIDEO|>"],
        audio_start_token_id=ids["<|audio_bos|>"],
        audio_end_token_id=ids["<|audio_eos|>"],
        vision_start_token_id=ids["<|vision_bos|>"],
        vision_end_token_id=ids["<|vision_eos|>"],
        bos_token_id=ids["<|im_start|>"],
        eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"],
        user_token_id=ids["<|im_start|>"],
    )
    return with_bridges(config) if bridged else config


def with_bridges(config: ThinkerConfig) -> ThinkerConfig:
    """The policy with a tiny CLIP for its eye, and a bridge behind both towers."""
    eye = ClipConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        out_hidden_size=config.text.hidden_size,
    )
    bridges = {"audio_bridge": BridgeConfig.after(config.audio), "vision_bridge": BridgeConfig.after(eye)}
    return replace(config, vision=eye, **bridges)


def make_tiny(
    directory: str | Path, texts: Iterable[str], seed: int, vocab_size: int = 1024, bridged: bool = False
) -> None:
    """Writes a tiny policy directory, all or nothing: tokenizer learned from `texts`, weights drawn from `seed`.

    Equal arguments give equal bytes. bridged: as `tiny_config` has it.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PIECES), "isolated"), bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(s, special=True, normalized=False) for s in SPECIAL],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = {s: tokenizer.token_to_id(s) for s in SPECIAL}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        eos_token="<|im_end|>",
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )
    # a vocabulary that the texts could not fill is rounded up, as released sizes are
    config = tiny_config(ids, -(-tokenizer.get_vocab_size() // 64) * 64, bridged)
    with tempfile.TemporaryDirectory() as companions:
        wrapped.save_pretrained(companions)
        preprocessor = preprocessor_settings(config, Preprocessor())
        (Path(companions) / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
        hf.save(directory, config, init_params(config, jax.random.key(seed)), companions, together=False)
