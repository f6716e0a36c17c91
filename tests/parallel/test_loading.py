"""Checkpoints onto a mesh and back: bytes equal, host memory at the parameters."""

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from emsa_jax.policy import hf
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.thinker_config import preset


def released(vocab_size: int, shrink: int):
    """One layer of everything, at the widths of the released 7B divided by `shrink`."""
    c = preset("7B")
    text = replace(
        c.text,
        num_hidden_layers=2,
        vocab_size=vocab_size,
        hidden_size=c.text.hidden_size // shrink,
        intermediate_size=c.text.intermediate_size // shrink,
        num_attention_heads=c.text.num_attention_heads // min(shrink, 7),
        mrope_section=(16, 24, 24),
    )
    if shrink > 1:
        text = replace(
            text,
            num_attention_heads=4,
            num_key_value_heads=4,
            mrope_section=tuple(text.hidden_size // 4 // 2 * part // 8 for part in (2, 3, 3)),
        )
    audio = replace(c.audio, encoder_layers=1, output_dim=text.hidden_size)
    vision = replace(c.vision, depth=1, fullatt_block_indexes=(0,), out_hidden_size=text.hidden_size)
    ids = {field.name: i for i, field in enumerate(fields(c)) if field.name.endswith("_token_id")}  # of any vocabulary
    return replace(c, text=text, audio=audio, vision=vision, **ids)


@pytest.mark.parametrize("vocab_size, shrink", [(4096, 7), pytest.param(152064, 1, marks=pytest.mark.slow)])
def test_onto_eight_devices_and_back(tmp_path, vocab_size, shrink):
    """Peak memory is that of the parameters and at most 1.3 times the largest of them; the export is the checkpoint, in
    the same shards."""
    config = released(vocab_size, shrink)
    hf.save(
        tmp_path / "policy",
        config,
        init_params(config, jax.random.key(0), jnp.bfloat16),
        shard_bytes=10**9 // shrink**2,
    )
    files = sorted(path.name for path in (tmp_path / "policy").glob("*.safetensors"))
    assert len(files) > 2
    command = [
        sys.executable,
        str(Path(__file__).with_name("loading.py")),
        str(tmp_path / "policy"),
        str(tmp_path / "back"),
        str(10**9 // shrink**2),
    ]
    done = subprocess.run(
        command,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["peak"] <= found["bytes"] + 1.3 * found["largest"], found
    assert found["held"] < 0.2 * found["bytes"], found  # an eighth, and what cannot be cut
    hashes = [json.loads((tmp_path / name / "MANIFEST.json").read_text())["files"] for name in ("policy", "back")]
    assert all(hashes[0][name] == hashes[1][name] for name in [*files, "model.safetensors.index.json"])
