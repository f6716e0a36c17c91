import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file

from emsa_jax.errors import InputError
from emsa_jax.experiments.ch_cems_predictions import read_runs
from emsa_jax.features.feature_options import FeatureOptions
from emsa_jax.jobs.features import features
from emsa_jax.parallel import preemption


def part(seed, count):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-1, 1, count)
    arrays = {name: rng.normal(0, 0.2, (count, 5, size)) for name, size in (("text", 6), ("audio", 3), ("vision", 2))}
    arrays["text"] += labels[:, None, None]
    ids = [f"video_{seed}$_${i}" for i in range(count)]
    single = {f"regression_labels_{m}": labels for m in "TAV"}
    return {"id": ids, "raw_text": ids, "regression_labels": labels, **arrays, **single}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "features.pkl"
    parts = {name: part(i, n) for i, (name, n) in enumerate((("train", 24), ("valid", 8), ("test", 10)))}
    path.write_bytes(pickle.dumps(parts))
    return path


@pytest.fixture(autouse=True)
def no_handler(monkeypatch):
    monkeypatch.setattr(preemption.signal, "signal", lambda *_: None)


CHANGE = ("hidden=4", "batch_size=8", "max_epochs=25", "learning_rate=3e-3", "accumulate=1")


def test_a_network_leaves_predictions_metrics_and_a_table(file, tmp_path, capsys):
    options = FeatureOptions(network="misa", data=str(file), seeds=(0, 3), change=CHANGE, resamples=10)
    out = tmp_path / "run"
    features(options, out)
    rows = [json.loads(line) for line in (out / "3" / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"video_2$_${i}" for i in range(10)]
    assert rows[0]["about"] == {"agreement": "modalities agree"}
    scores, targets = (np.array([row[name] for row in rows]) for name in ("score", "target"))
    metrics = json.loads((out / "3" / "metrics.json").read_text())["metrics"]
    np.testing.assert_allclose(metrics["MAE"], np.abs(scores - targets).mean(), atol=1e-5)
    assert metrics["Corr"] > 0.8 and metrics["Corr"] == pytest.approx(np.corrcoef(scores, targets)[0, 1], abs=1e-4)
    assert load_file(out / "0" / "model.safetensors")["fusion.fusion_layer_3.weight"].shape == (1, 12)
    assert json.loads((out / "0" / "training.json").read_text())["best_epoch"] > 1
    table = (out / "table.csv").read_text()
    other = json.loads((out / "0" / "metrics.json").read_text())["metrics"]["MAE"]
    line = next(line for line in table.splitlines() if line.startswith("misa,mae,"))
    assert float(line.split(",")[2]) == pytest.approx((metrics["MAE"] + other) / 2, rel=1e-4)
    assert "| misa, mmsa | 2 of 2 |" in (out / "table.md").read_text() and (out / "table.tex").exists()
    read = read_runs([f"MISA={out / '0'}", f"MISA={out / '3'}"])  # as the benchmark does
    assert len(read.seeds["MISA"]) == 2
    assert "warning" not in capsys.readouterr().out


def test_what_has_learned_nothing_is_told(file, tmp_path, capsys):
    parts = pickle.loads(file.read_bytes())
    for one in parts.values():
        for name in ("text", "audio", "vision"):
            one[name][:] = one[name][:1]
    file.write_bytes(pickle.dumps(parts))
    change = (*CHANGE, "max_epochs=1")
    features(FeatureOptions(network="misa", data=str(file), seeds=(0,), change=change, resamples=0), tmp_path / "run")
    assert "warning: seed 0: all predictions are the same" in capsys.readouterr().out
    assert "| misa, mmsa (nothing learned in 1 of 1 seeds) |" in (tmp_path / "run" / "table.md").read_text()


@pytest.mark.slow
def test_networks_and_files_become_tables(file, tmp_path):
    change = ("batch_size=8", "max_epochs=2", "kernels=(1,1,1)", "width=4", "heads=1", "accumulate=1")
    data = dict(data=str(file), more_data=(f"mosi={file}",), resamples=0, seeds=(0,))
    features(FeatureOptions(networks=("mult", "dlf"), change=change, **data), tmp_path / "run")
    for dataset in ("sims", "mosi"):
        lines = (tmp_path / "run" / dataset / "table.md").read_text().splitlines()
        named = [line for line in lines if line.startswith(("| mult, mmsa", "| dlf, mmsa"))]
        assert [line.split(",")[0] for line in named] == ["| mult", "| dlf"]
        assert (tmp_path / "run" / dataset / "dlf" / "0" / "predictions.jsonl").exists()
    for wrong in ("mosi", f"sims={file}", f"other={file}"):
        with pytest.raises(InputError, match="config.more_data"):
            features(FeatureOptions(**data | {"more_data": (wrong,)}), tmp_path / "other")
