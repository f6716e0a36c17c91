"""What a seed came to, as an evaluation of a policy leaves it, and a warning where it has learned nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from emsa_jax.data.data_options import MODALITIES
from emsa_jax.data.features import Features
from emsa_jax.data.records import Entry
from emsa_jax.evaluation.external import prediction_row
from emsa_jax.evaluation.predictions import summarize
from emsa_jax.evaluation.result_files import write_result
from emsa_jax.features.feature_options import FeatureOptions
from emsa_jax.features.recipes import SCALES
from emsa_jax.features.running import Training
from emsa_jax.features.state_dict import to_state_dict
from emsa_jax.features.training import Trained
from emsa_jax.manifest import write_atomic
from emsa_jax.runtime.console import say

COLUMNS = {  # of the table <- of regression_metrics
    "has0_acc2": "Has0_acc_2",
    "non0_acc2": "Non0_acc_2",
    "has0_f1": "Has0_F1_score",
    "non0_f1": "Non0_F1_score",
    "weak_acc2": "Mult_acc_2_weak",
    "acc3": "Mult_acc_3",
    "acc5": "Mult_acc_5",
    "acc7": "Mult_acc_7",
    "mae": "MAE",
    "corr": "Corr",
}


def write_seed(out: Path, training: Training, trained: Trained, options: FeatureOptions) -> tuple[dict, str]:
    """What a seed came to, on disk; returns its metrics, and what has become of it, as a stage says it."""
    part, scale = training.data.parts["test"], SCALES[options.dataset]
    scores = [float(score) for score in trained.predictions["test"]]
    rows = [prediction_row(entry, score, 0.0) for entry, score in zip(entries(part), scores, strict=True)]
    rows = [row | {"shown": list(MODALITIES)} for row in rows]
    prior = training.data.parts["train"].regression_labels
    result = summarize(rows, (-scale, scale), "worst", 0.0, list(map(float, prior)), options.resamples)
    if trained.refused:
        refused = f"{trained.refused} updates were not taken, since numbers were not finite; lower the rate"
        say(f"warning: seed {out.name}: {refused}")
    if warning := without_learning(trained, training):
        say(f"warning: seed {out.name}: {warning}")
    write_result(out, result, rows)
    record = {"best_epoch": trained.best_epoch, "refused": trained.refused, "epochs": list(trained.log)}
    write_atomic(out / "training.json", json.dumps(record, indent=1).encode() + b"\n")
    state = to_state_dict(training.network, training.data.batches["train"], trained.params)
    write_atomic(out / "model.safetensors", save({name: np.ascontiguousarray(v) for name, v in state.items()}))
    return result["metrics"], "nothing_learned" if warning else "learned"


def without_learning(trained: Trained, training: Training) -> str:
    """Why a seed's numbers mean nothing, "" where they may."""
    valid = trained.predictions["valid"]
    if np.ptp(valid) < 1e-4:
        return "all predictions are the same: nothing was learned; try another rate, or look at the features"
    truth = training.data.parts["valid"].regression_labels
    floor = np.abs(truth - np.median(training.data.parts["train"].regression_labels)).mean()
    if np.abs(valid - truth).mean() >= floor:
        return "its validation error is no lower than that of one constant; nothing was learned"
    return ""


def entries(part: Features) -> list[Entry]:
    """The utterances of a split as the evaluation knows clips."""
    found = []
    for i, id in enumerate(part.id):
        unimodal = {name: getattr(part, f"regression_labels_{name[-1]}") for name in ("label_T", "label_A", "label_V")}
        concepts = tuple((name, str(float(v[i]))) for name, v in unimodal.items() if v is not None)
        score = float(part.regression_labels[i])
        text = part.raw_text[i] if part.raw_text else ""
        media = dict(num_frames=0, height=0, width=0, frame_rate=0.0, mel_frames=0)
        entry = Entry(id=id, text=text, score=score, split="test", language="", concepts=concepts, **media)
        found.append(entry)
    return found
