"""A cue bridge out of clips and captions: stage 1 or 2 of XEmoGPT."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from emsa_jax.data.pairs import SPLITS, read_pairs
from emsa_jax.errors import InputError
from emsa_jax.evaluation.bridge_probes import probe_bridge
from emsa_jax.manifest import write_atomic
from emsa_jax.runtime.console import say
from emsa_jax.runtime.startup import listen
from emsa_jax.training.bridge_encoders import caption_encoder
from emsa_jax.training.bridge_features import bridge_config, encode_pairs
from emsa_jax.training.bridge_options import BridgesOptions
from emsa_jax.training.bridges import retrieval_of, save_bridge, train_bridge


def bridges(options: BridgesOptions, workdir: Path) -> None:
    """Encodes the pairs, trains the bridge, writes it with its retrieval on each split, which is printed as JSON on the
    last line too. The same command goes on where it stopped."""
    for name, what in (("pairs", "a jsonl of clips and captions"), ("encoder", "a directory of the frozen encoder")):
        if not getattr(options, name):
            raise InputError(f"config.{name}: name {what}")
    for name in ("encoder", "text_encoder"):
        if (directory := getattr(options, name)) and not Path(directory).is_dir():
            raise InputError(f"config.{name}: {directory}: no such directory")
    out = Path(options.out).expanduser() if options.out else workdir / "bridge"
    if out.exists():
        raise InputError(f"config.out: {out} exists already; remove it, or name another directory")
    pairs = read_pairs(options.pairs, "config.pairs")
    listen()
    workdir.mkdir(parents=True, exist_ok=True)
    features = encode_pairs(pairs, options, workdir)
    config = bridge_config(options, features.captions.shape[1])
    rows = {split: np.array([i for i, pair in enumerate(pairs) if pair.split == split], int) for split in SPLITS}
    say(f"{options.kind}: {len(rows['train'])} pairs, {features.states.shape[1]} places of {config.hidden_size}")
    params = jax.device_get(train_bridge(options, config, features, rows["train"], workdir))
    found = {
        split: retrieval_of(params, config, features, some) | {"n": len(some)}
        for split, some in rows.items()
        if len(some)
    }
    captions = options.text_encoder or options.encoder
    for split, probe in probe_bridge(
        params, config, features, pairs, lambda texts: caption_encoder(captions)(texts)
    ).items():
        found[split] |= {"probe": probe}
    save_bridge(out, config, params, {"kind": options.kind, "retrieval": found})
    write_atomic(workdir / "retrieval.json", json.dumps(found, indent=1).encode() + b"\n")
    say(f"written to {out}")
    print(json.dumps(found), flush=True)
