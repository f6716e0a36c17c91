"""Settings of adapters: ranks and scales of single linears, with PEFT at the other end."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file

from emsa_jax.errors import InputError
from emsa_jax.policy.peft import load_adapter, save_adapter
from emsa_jax.policy.peft_settings import read_settings

TARGETS = r".*language_model.*\.(q_proj|o_proj|up_proj)"
# a plain name, a pattern, a name of one layer; the first that fits counts
RANKS = {"up_proj": 5, r"layers\.[01]\.self_attn\.q_proj": 2, "model.language_model.layers.2.self_attn.q_proj": 7}
ALPHAS = {"o_proj": 1, r"layers.1.mlp.up_proj": 20.5, "up_proj": -4}


@pytest.fixture(scope="module")
def written(worlds, tmp_path_factory, logits_of):
    """rooted -> (what PEFT wrote, its logits of the mix)."""
    world, found = worlds["base"], {}
    for rooted in (False, True):
        config = LoraConfig(
            r=3, lora_alpha=6, target_modules=TARGETS, rank_pattern=RANKS, alpha_pattern=ALPHAS, use_rslora=rooted
        )
        model, generator = get_peft_model(world.reload(), config).eval(), torch.Generator().manual_seed(0)
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.data = 0.15 * torch.randn(p.shape, generator=generator)
        directory = tmp_path_factory.mktemp("peft") / "theirs"
        model.save_pretrained(directory)
        found[rooted] = directory, logits_of(model, world.torch_inputs(world.rows("mix")))
    return found


@pytest.mark.parametrize("rooted", [False, True])
def test_ranks_and_scales_of_single_linears(worlds, written, tmp_path, rooted):
    """Smaller ranks are filled up with zeros and other scales are in B, also in what is written of them."""
    world, (directory, theirs) = worlds["base"], written[rooted]
    adapter = load_adapter(directory, world.config)
    assert {x.shape[-2] for x in (ab["a"] for ab in adapter.weights["text"].values())} == {7}
    assert adapter.scale == pytest.approx(6 / 3**0.5 if rooted else 2)
    save_adapter(tmp_path / "again", world.config, adapter)
    mask = world.inputs("mix").mask
    for one in (adapter, load_adapter(tmp_path / "again", world.config)):
        ours = np.asarray(world.logits(world.params, one, world.inputs("mix")))
        assert np.abs(ours[mask] - theirs[mask[:, -theirs.shape[1] :]]).max() < 2e-4


def test_shapes_must_be_those_of_the_patterns(worlds, written, tmp_path):
    directory, _ = written[False]
    shutil.copytree(directory, tmp_path / "bad")
    path = tmp_path / "bad" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rank_pattern": {"up_proj": 4}}))
    assert len(load_file(tmp_path / "bad/adapter_model.safetensors")) == 18
    with pytest.raises(InputError, match=r"layers\.0\.mlp\.up_proj\.lora_A\.weight.*\[5, 64\].*needs \[4, 64\]"):
        load_adapter(tmp_path / "bad", worlds["base"].config)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern 'q_proj' is 0, but must be a whole number"),
        ({"rank_pattern": {"q_proj": "4"}}, "rank_pattern 'q_proj' is '4'"),
        ({"rank_pattern": {"q_proj": 2**63}}, "rank_pattern 'q_proj' is"),
        ({"rank_pattern": [3]}, "rank_pattern is no object"),
        ({"rank_pattern": {"(": 3}}, r"rank_pattern '\(' is no pattern"),
        ({"rank_pattern": {r"((\w+\.)*)*x": 3}}, "rank_pattern .* is too involved"),
        ({"rank_pattern": {".*" * 30 + "x": 3}}, "rank_pattern .* is too involved"),
        ({"rank_pattern": {".?" * 40 + "!": 3}}, "rank_pattern .* is too involved"),
        ({"rank_pattern": {"(?:.|.)" * 30 + "!": 3}}, "rank_pattern .* is too involved"),
        (
            {"rank_pattern": {f".*.*.*{i}!": 3 for i in range(200)}},
            "rank_pattern has more than 100 patterns with choices",
        ),
        ({"alpha_pattern": {"a" * 10**5: 3}}, "alpha_pattern .* is too involved"),
        ({"alpha_pattern": {"q_proj": float("inf")}}, "alpha_pattern 'q_proj' is inf"),
        ({"alpha_pattern": {"q_proj": float("nan")}}, "alpha_pattern 'q_proj' is nan"),
        ({"alpha_pattern": {"q_proj": 0}}, "alpha_pattern 'q_proj' is 0"),
        ({"alpha_pattern": {"q_proj": True}}, "alpha_pattern 'q_proj' is True"),
        ({"alpha_pattern": "x"}, "alpha_pattern is no object"),
        ({"lora_alpha": 1e-300, "alpha_pattern": {"o_proj": 1e6}}, "o_proj.* is too large under alpha_pattern"),
    ],
)
def test_wrong_patterns_are_named_at_once(worlds, written, tmp_path, changed, message):
    shutil.copytree(written[False][0], tmp_path / "bad")
    path = tmp_path / "bad" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    begun = time.process_time()
    with pytest.raises(InputError, match="bad.*" + message):
        load_adapter(tmp_path / "bad", worlds["base"].config)
    assert time.process_time() - begun < 2


def test_what_a_pattern_fits(tmp_path):
    """The end of a name that begins after a dot; the first pattern of the file; a name as the file spells it first."""
    path = tmp_path / "adapter_config.json"
    path.write_text(
        json.dumps(
            {
                "r": 2,
                "lora_alpha": 4,
                "init_lora_weights": True,
                "rank_pattern": {"proj": 3, "b.q": 4, "q": 5, "^x.*": 6},
                "alpha_pattern": {"q": 5},
            }
        )
    )
    settings = read_settings(path)
    assert settings.of(["a.q_proj"]) == (2, 2.0)
    assert settings.of(["a.proj"]) == (3, 4 / 3)
    assert settings.of(["a.b.q"]) == (4, 5 / 4)
    assert settings.of(["a.bxq"]) == (4, 4 / 4)  # a dot of a pattern is any character
    assert settings.of(["q", "a.b.q"]) == (5, 1.0)
    assert settings.of(["o", "x.o"]) == (6, 4 / 6)
