"""The stage of bridges on made features: it learns, goes on bit for bit, and what it writes is read again."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from emsa_jax.errors import InputError
from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.policy.bridges import heads_table
from emsa_jax.policy.hf import load_table
from emsa_jax.policy.parameter_table import bridge_table
from emsa_jax.policy.thinker_config import BridgeConfig
from emsa_jax.training import bridges
from emsa_jax.training.bridge_features import PairFeatures
from emsa_jax.training.bridge_options import BridgesOptions
from emsa_jax.training.bridges import fresh_bridge, make_batch, retrieval_of, save_bridge, train_bridge

CONFIG = BridgeConfig(
    hidden_size=12, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1, positions=4, output_size=8,
    text_size=6,
)  # fmt: skip
ROWS = np.arange(26)
OPTIONS = BridgesOptions(
    batch_size=12, micro_batches=3, epochs=20, save_every=4, optimizer=OptimizerOptions(learning_rate=1e-2)
)


@pytest.fixture(scope="module")
def features():
    """26 clips whose captions are a linear map of what two of their frames hold."""
    rng = np.random.default_rng(0)
    states = rng.standard_normal((26, 4, 12)).astype(np.float32)
    valid = np.arange(4) < rng.integers(2, 5, (26, 1))
    captions = np.concatenate([states[:, 0, :3], states[:, 1, :3]], axis=1)
    return PairFeatures(states * valid[..., None], valid, captions, "made")


def test_it_learns_and_a_run_that_was_stopped_ends_with_the_same_bits(features, tmp_path, monkeypatch):
    before = retrieval_of(fresh_bridge(OPTIONS, CONFIG), CONFIG, features, ROWS)
    whole = train_bridge(OPTIONS, CONFIG, features, ROWS, tmp_path / "whole")
    assert retrieval_of(whole, CONFIG, features, ROWS)["at_1"] > max(0.5, 2 * before["at_1"])
    calls = iter(range(100))
    with monkeypatch.context() as patch:
        patch.setattr(bridges.preemption, "is_agreed", lambda processes: next(calls) == 13)
        with pytest.raises(SystemExit) as stopped:
            train_bridge(OPTIONS, CONFIG, features, ROWS, tmp_path / "stopped")
    assert stopped.value.code == 42
    again = train_bridge(OPTIONS, CONFIG, features, ROWS, tmp_path / "stopped")
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    logs = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "stopped")]
    assert len(logs[0]) == len(logs[1]) == 40
    with pytest.raises(InputError, match="settings"):
        train_bridge(replace(OPTIONS, order_weight=2.0), CONFIG, features, ROWS, tmp_path / "stopped")


def test_batches_are_functions_of_the_step_and_shuffle_valid_frames_alone(features):
    first, again = (make_batch(OPTIONS, features, ROWS, 12, 3) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    seen = np.concatenate([make_batch(OPTIONS, features, ROWS, 12, step).captions for step in (0, 1)])
    assert len(np.unique(seen, axis=0)) == 24
    for row in range(12):
        count = first.valid[row].sum()
        assert sorted(first.order[row, :count]) == list(range(count))
        assert first.order[row, count:].tolist() == list(range(count, 4))
    assert not (first.masked & ~first.valid).any() and first.masked.any()


def test_equal_captions_count_as_one(features):
    params = fresh_bridge(OPTIONS, CONFIG)
    same = PairFeatures(features.states, features.valid, np.ones_like(features.captions), "")
    assert retrieval_of(params, CONFIG, same, ROWS) == {"at_1": 1.0, "at_5": 1.0}


def test_what_is_written_is_read_again_under_the_published_names(tmp_path):
    params = fresh_bridge(OPTIONS, CONFIG)
    save_bridge(tmp_path / "bridge", CONFIG, params, {"kind": "vecb"})
    names = set(load_file(tmp_path / "bridge/model.safetensors"))
    assert {"position_embedding", "visual_alignment_layer.0.mlp.fc1.weight", "temporal_disc_head.2.bias"} <= names
    assert {"attention_pooling.attn_vector", "temperature", "mask_token"} <= names
    read = load_table(tmp_path / "bridge", [*bridge_table(CONFIG), *heads_table(CONFIG)])
    jax.tree.map(np.testing.assert_array_equal, read, params)


def test_too_many_parts(features, tmp_path):
    with pytest.raises(InputError, match="micro_batches"):
        train_bridge(replace(OPTIONS, micro_batches=50), CONFIG, features, ROWS, tmp_path)


@pytest.mark.parametrize("rate, told", [(1e30, "update 3 is not taken"), (1e-30, "5 updates in a row changed nothing")])
def test_a_rate_that_cannot_work_is_told(features, tmp_path, capsys, rate, told):
    options = replace(OPTIONS, epochs=3, optimizer=OptimizerOptions(rate, weight_decay=0.0))
    if rate > 1:
        with pytest.raises(
            InputError, match="at update 3, the new parameters were not finite, or more .*, 3 updates in a row"
        ):
            train_bridge(options, CONFIG, features, ROWS, tmp_path)
        assert (tmp_path / "checkpoints" / "3").is_dir()
    else:
        train_bridge(options, CONFIG, features, ROWS, tmp_path)
    assert capsys.readouterr().out.count(f"warning: {told}") == 1
