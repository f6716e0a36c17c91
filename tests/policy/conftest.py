"""Two tiny random thinkers built with transformers, and the batches on which the policy is compared with them.

"base" keeps the official defaults, shrunk. "alt" moves every one of them: tied embeddings, chunks of an odd number of
positions, other windows, clocks, thetas and head counts.
"""

import functools
import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5OmniConfig, Qwen2_5OmniThinkerConfig
from transformers import Qwen2_5OmniForConditionalGeneration as Omni
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

from emsa_jax.policy import decoder, hf, thinker
from emsa_jax.policy.audio import encode_audio
from emsa_jax.policy.inputs import InputShape, build_inputs, smallest_shape
from emsa_jax.policy.positions import Grid
from emsa_jax.policy.prompt_row import Row, Visual, expand
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.policy.vision import encode_vision

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)  # two would wait for each other on models this small

_CODE = ["<repo_name>", "<reponame>", "<file_sep>", "<filename>", "<gh_stars>", "<issue_start>", "<issue_comment>"]
_TEMPLATE = (  # SmolLM2's
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = {
    "audio_token_index": 110,
    "image_token_index": 111,
    "video_token_index": 112,
    "audio_start_token_id": 113,
    "audio_end_token_id": 114,
    "vision_start_token_id": 115,
    "vision_end_token_id": 116,
    "bos_token_id": 117,
    "eos_token_id": 118,
    "pad_token_id": 119,
    "user_token_id": 99,
}
CONFIGS = {
    "base": dict(
        TOKENS,
        position_id_per_seconds=25,
        seconds_per_chunk=2,
        tie_word_embeddings=False,
        text_config=dict(
            vocab_size=128,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            rms_norm_eps=1e-6,
            tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[2, 3, 3]),
        ),
        audio_config=dict(
            d_model=32,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=48,
            output_dim=64,
            n_window=100,
            num_mel_bins=128,
            max_source_positions=1500,
        ),
        vision_config=dict(
            depth=4,
            hidden_size=32,
            intermediate_size=40,
            num_heads=2,
            out_hidden_size=64,
            fullatt_block_indexes=[1, 3],
            window_size=112,
        ),
    ),
    "alt": dict(
        TOKENS,
        position_id_per_seconds=13,
        seconds_per_chunk=1,
        tie_word_embeddings=True,
        text_config=dict(
            vocab_size=128,
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=3,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            max_position_embeddings=4096,
            rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[1, 1, 2]),
        ),
        audio_config=dict(
            d_model=24,
            encoder_layers=3,
            encoder_attention_heads=2,
            encoder_ffn_dim=40,
            output_dim=48,
            n_window=25,
            num_mel_bins=128,
            max_source_positions=300,
        ),
        vision_config=dict(
            depth=3,
            hidden_size=24,
            intermediate_size=36,
            num_heads=3,
            out_hidden_size=48,
            fullatt_block_indexes=[1],
            window_size=56,
        ),
    ),
}

TALKER = dict(
    {name: TOKENS[name] for name in ("audio_token_index", "image_token_index", "video_token_index")},
    vocab_size=64,
    embedding_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    tts_codec_start_token_id=1,
    tts_codec_end_token_id=2,
    tts_codec_pad_token_id=3,
    tts_codec_mask_token_id=4,
    pad_token_id=3,
    rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[2, 3, 3]),
)
TOKEN2WAV = dict(
    dit_config=dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        head_dim=16,
        emb_dim=16,
        enc_dim=8,
        enc_emb_dim=8,
        enc_channels=[8, 8, 8, 8, 24],
        enc_attention_channels=8,
        enc_se_channels=8,
        enc_res2net_scale=2,
        num_embeds=70,
        mel_dim=10,
    ),
    bigvgan_config=dict(mel_dim=10, upsample_initial_channel=16, upsample_rates=[2, 2], upsample_kernel_sizes=[4, 4]),
)


def sound(frames):
    return ("audio", frames)


def image(h, w):
    return ("image", (1, h, w))


def video(t, h, w, seconds=1.0):
    return ("video", (t, h, w), seconds)


def film(t, h, w, seconds, frames):
    """A video with its sound track interleaved."""
    return ("film", (t, h, w), seconds, frames)


# rows of parts: a number is that many text tokens
CASES = {
    "text": ([23], [9], [17], [1]),
    "audio": ([7, sound(453), 5, sound(63), 6], [4, sound(200), 3], [sound(25), 2], [5]),
    "audio_lengths": ([2, *map(sound, (6, 5, 49, 50, 51, 52, 53)), 3], [sound(401), 4], [sound(203), 1], [sound(3), 2]),
    "image": ([5, image(12, 20), 4, image(8, 8), 5], [image(2, 6), 6], [3, image(4, 10)], [3]),
    "video": ([5, video(3, 8, 12), 6], [9, video(2, 4, 4, 0.7), 4], [video(1, 10, 6), 3], [8]),
    "film": ([4, film(4, 4, 8, 1.0, 400), 5], [3, film(3, 4, 6, 0.5, 171), 2, film(2, 6, 4, 1.0, 122), 3], [7], [2]),
    # sound longer than the picture; shorter (the end markers step back); gaps longer than a chunk
    "film_quirks": (
        [4, film(2, 4, 4, 1.0, 555), 5],
        [3, film(4, 4, 4, 1.0, 241), 4],
        [film(3, 4, 4, 4.0, 333), 2],
        [5, film(2, 2, 2, 0.3, 9), 1],
    ),
    "mix": (
        [31],
        [5, sound(131), 6],
        [4, video(2, 4, 6), 3, sound(77), 5],
        [3, image(6, 4), 2, video(1, 4, 4), 2, image(4, 8), 3],
    ),
}
FILMS = ("film", "film_quirks")


@dataclass(eq=False)
class World:
    """One thinker twice: `model` in torch, (`config`, `params`) in JAX, and the directories between them."""

    name: str
    model: Thinker
    directory: Path  # thinker-only, one file
    full: Path  # full (`thinker.*`), shards, with a speaking half that nobody reads

    @cached_property
    def loaded(self):
        return hf.load(self.directory)

    @property
    def config(self):
        return self.loaded[0]

    @property
    def params(self):
        return self.loaded[1]

    def rows(self, case) -> list[Row]:
        """The rows of a case (a name, or parts), with media made from their description."""
        rng = np.random.default_rng(zlib.crc32(repr(case).encode()))
        return [self._row(rng, parts) for parts in (CASES[case] if isinstance(case, str) else case)]

    def _row(self, rng, parts) -> Row:
        c, tokens, audios, images, videos = self.config, [], [], [], []
        together = any(isinstance(p, tuple) and p[0] == "film" for p in parts)
        for part in parts:
            if isinstance(part, int):
                tokens += rng.integers(0, 100, part).tolist()
                continue
            kind = part[0]
            if kind in ("audio", "film"):
                audios.append(rng.standard_normal((part[-1], 128)).astype(np.float32))
            if kind == "audio":
                tokens += [c.audio_start_token_id, c.audio_token_id, c.audio_end_token_id]
                continue
            seconds = part[2] if kind != "image" else 1.0
            patches = rng.standard_normal((int(np.prod(part[1])), 1176)).astype(np.float32)
            (images if kind == "image" else videos).append(Visual(patches, Grid(*part[1], seconds, kind != "image")))
            placeholder = c.image_token_id if kind == "image" else c.video_token_id
            tokens += [c.vision_start_token_id, placeholder, c.vision_end_token_id]
        return Row(expand(c, tokens, audios, images, videos, together), audios, images, videos, together)

    def torch_inputs(self, rows, pad="left") -> dict:
        """The batch as transformers takes it; mel beyond each audio's end holds garbage."""
        width = max(len(r.tokens) for r in rows)
        ids = np.full((len(rows), width), self.config.pad_token_id)
        mask = np.zeros_like(ids)
        for i, r in enumerate(rows):
            at = slice(width - len(r.tokens), None) if pad == "left" else slice(len(r.tokens))
            ids[i, at], mask[i, at] = r.tokens, 1
        out = {"input_ids": ids, "attention_mask": mask}
        audios = [a for r in rows for a in r.audios]
        if audios:
            lengths = [len(a) for a in audios]
            mel = np.random.default_rng(1).standard_normal((len(audios), 128, max(lengths) + 3)).astype(np.float32)
            for i, a in enumerate(audios):
                mel[i, :, : len(a)] = a.T
            out.update(
                input_features=mel,
                feature_attention_mask=(np.arange(mel.shape[2]) < np.array(lengths)[:, None]).astype(np.int64),
            )
        for kind, suffix in (("images", ""), ("videos", "_videos")):
            visuals = [v for r in rows for v in getattr(r, kind)]
            if visuals:
                out["pixel_values" + suffix] = np.concatenate([v.patches for v in visuals])
                out[f"{kind[:-1]}_grid_thw"] = np.array([(v.grid.t, v.grid.h, v.grid.w) for v in visuals])
                if kind == "videos":
                    out["video_second_per_grid"] = np.array([v.grid.seconds for v in visuals], np.float32)
        out = {k: torch.from_numpy(v) for k, v in out.items()}
        return dict(out, use_audio_in_video=True) if any(r.audio_in_video for r in rows) else out

    @functools.cache  # noqa: B019 (worlds live as long as the session)
    def reference(self, case: str, pad: str = "left") -> tuple[np.ndarray, np.ndarray]:
        """transformers' logits [B, S, V] and position ids [3, B, S] of a case."""
        seen = {}
        hook = self.model.model.language_model.register_forward_pre_hook(
            lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
        )
        logits = torch_logits(self.model, self.torch_inputs(self.rows(case), pad))
        hook.remove()
        return logits, seen["position_ids"].numpy()[-3:]

    @cached_property
    def budget(self) -> InputShape:
        """One budget for every case."""
        needs = [smallest_shape(self.config, self.rows(case)) for case in CASES]
        return InputShape(*(max(getattr(n, f) for n in needs) for f in ("prompt", "chunks", "patch_rows", "patch_row")))

    def inputs(self, case, pad="left"):
        return build_inputs(self.config, self.rows(case), self.budget, pad)

    @cached_property
    def logits(self):
        """(params, adapter, inputs) -> logits, compiled once and shared by the tests."""
        return jax.jit(lambda params, adapter, inputs: thinker.logits(params, adapter, self.config, inputs))

    @cached_property
    def prefill(self):
        """(params, inputs) -> embeddings, hidden states and cache of the prompts, compiled once."""

        def run(params, inputs):
            x = thinker.encode(params, None, self.config, inputs)
            return x, *decoder.forward(params["text"], None, self.config.text, x, inputs.positions, inputs.mask)

        return jax.jit(run)

    @cached_property
    def step(self):
        """decode_step without an adapter, compiled once."""
        return jax.jit(
            lambda text, x, positions, slot, cache, mask, caches: decoder.decode_step(
                text, decoder.decode_layers(text, None, cache), 0.0, self.config.text, x, positions, slot, mask, caches
            )
        )

    @cached_property
    def audio_tokens(self):
        """(audio parameters, inputs) -> the audio part of the media table, compiled once for each budget."""
        return jax.jit(lambda p, x: encode_audio(p, None, self.config.audio, x.mel, x.mel_length, x.audio_pairs))

    @cached_property
    def visual_tokens(self):
        """(vision parameters, inputs) -> the visual part of the media table, compiled once for each budget."""
        return jax.jit(
            lambda p, x: encode_vision(p, None, self.config.vision, x.patches, x.patch_hw, x.frame, x.window)
        )

    def reload(self, directory=None, **options) -> Thinker:
        return Thinker.from_pretrained(
            directory or self.directory, attn_implementation="eager", **{"dtype": torch.float32, **options}
        ).eval()


@torch.no_grad()
def torch_logits(model, inputs) -> np.ndarray:
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    core.model.rope_deltas = None
    return model(**inputs, use_cache=False).logits.float().numpy()


def randomize(model, tied):
    """Weights large enough that every part of the network matters to the logits."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            r = torch.randn(p.shape, generator=generator)
            if "embed_tokens" in name or "audio_bos_eos" in name:
                p.copy_(r * (0.15 if tied else 0.7))
            elif p.ndim == 1:
                p.copy_(0.2 * r + (0.0 if name.endswith("bias") else 1.0))
            else:
                p.copy_(r * 1.3 / p[0].numel() ** 0.5)


def add_speaking_half(directory: Path):
    """Puts talker and token2wav tensors into a sharded checkpoint."""
    import json

    from safetensors.numpy import save_file

    rng = np.random.default_rng(2)
    extra = {
        "talker.model.norm.weight": rng.standard_normal(7).astype(np.float32),
        "token2wav.dit.x.weight": rng.standard_normal((3, 5)).astype(np.float16),
    }
    save_file(extra, directory / "model-speech.safetensors", metadata={"format": "pt"})
    path = directory / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"].update(dict.fromkeys(extra, "model-speech.safetensors"))
    path.write_text(json.dumps(index))


def build_world(name: str, root: Path) -> World:
    config = Qwen2_5OmniThinkerConfig(**CONFIGS[name])
    model = Thinker._from_config(config, attn_implementation="eager").eval()
    randomize(model, config.tie_word_embeddings)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = config.pad_token_id
    model.save_pretrained(root / "thinker")
    whole = Omni._from_config(
        Qwen2_5OmniConfig(thinker_config=config.to_dict(), enable_audio_output=False), attn_implementation="eager"
    )
    whole.thinker.load_state_dict(model.state_dict())
    whole.save_pretrained(root / "full", max_shard_size="150KB")
    add_speaking_half(root / "full")
    (root / "full" / "chat_template.json").write_text('{"chat_template": "x"}')
    return World(name, model, root / "thinker", root / "full")


@pytest.fixture(scope="session")
def omni(worlds, tmp_path_factory) -> Path:
    """A full Qwen2.5-Omni around the Thinker of the world "base", with a half that speaks and its speakers."""
    thinker = worlds["base"].model
    config = Qwen2_5OmniConfig(
        thinker_config=thinker.config.to_dict(), talker_config=TALKER, token2wav_config=TOKEN2WAV
    )
    model = Omni._from_config(config, attn_implementation="eager")
    model.thinker.load_state_dict(thinker.state_dict())
    directory = tmp_path_factory.mktemp("omni") / "full"
    model.save_pretrained(directory)
    voice = {"cond": torch.zeros(1, 8), "ref_mel": torch.zeros(1, 3, 10), "bos_token": 1}
    torch.save({"Chelsie": voice}, directory / "spk_dict.pt")
    return directory


@pytest.fixture(scope="session")
def worlds(tmp_path_factory):
    return {name: build_world(name, tmp_path_factory.mktemp(name)) for name in CONFIGS}


@pytest.fixture(params=CONFIGS)
def world(request, worlds) -> World:
    return worlds[request.param]


@pytest.fixture(params=CASES)
def case(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def logits_of():
    """(torch model, torch inputs) -> logits; the models may be wrapped by PEFT."""
    return torch_logits


@pytest.fixture(scope="session")
def write_tokenizer():
    """Writes a text model's tokenizer."""
    return _write_tokenizer


def _write_tokenizer(
    directory, special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", *_CODE), template=_TEMPLATE, **given
):
    """A tokenizer of SmolLM2's kind: bytes, each digit a token. Returns how many tokens it has."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: i for i, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(tokens, []))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    ends = dict(bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<|endoftext|>") | given
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends)
    wrapped.chat_template = template
    wrapped.save_pretrained(directory)
    settings = directory / "tokenizer_config.json"  # as the hub has it: a class with a rule of its own for digits
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"tokenizer_class": "GPT2Tokenizer"}))
    return len(tokens)


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory):
    """The directory of a tiny policy, to be copied and edited."""
    directory = tmp_path_factory.mktemp("tiny") / "policy"
    make_tiny(directory, ["I am glad to see you, and sad to go. 0123456789"] * 3, seed=0, vocab_size=420)
    return directory
