"""Seconds of an update of the cold start with encodings of frozen towers kept on disk, and with none kept.

    python benchmarks/kept_encodings.py --policy DIR --data RECORDS [--modalities audio] [--steps 6] [--out FILE]

policy: with an audio tower. data: a directory of prepared records with labels. The runs are the same to the bit: one
with nothing kept, one that fills an empty directory, and one that finds all in it. The first update of each, which
waits for compilers, does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.jobs.stages import run_stages
from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.manifest import sha256_file
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.rollout.rollout_options import EncodingOptions, PromptOptions, SamplingOptions
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.run import open_run
from emsa_jax.settings.config import Config
from emsa_jax.training.training_options import SftOptions

KINDS = {"nothing kept": 0.0, "kept, first run": 4.0, "kept, second run": 4.0}  # gigabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--modalities", default="audio")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    sft = SftOptions(
        targets="labels",
        batch_size=8,
        max_steps=args.steps,
        eval_every=args.steps + 1,
        save_every=args.steps + 1,
        optimizer=OptimizerOptions(3e-4),
    )
    result = {"batch": 8, "updates": args.steps - 1, "seconds an update": {}}
    with tempfile.TemporaryDirectory() as root:
        config = Config(
            data=args.data,
            policy=args.policy,
            stages=("sft",),
            format="class_only",
            lora=LoraOptions(16, 32.0),
            prompt=PromptOptions(modalities=tuple(args.modalities.split(","))),
            sampling=SamplingOptions(max_completion_length=8),
            evaluate=EvaluateOptions(batch_size=8),
            sft=sft,
        )
        keep_compiled(Path(root) / "compiled")
        adapters = set()
        for kind, most in KINDS.items():
            kept = EncodingOptions(f"{root}/encodings", most)
            seconds, adapter = measure(Path(root) / kind.replace(" ", "_"), replace(config, encodings=kept))
            result["seconds an update"][kind] = round(seconds, 3)
            adapters.add(adapter)
            print(f"{kind}: {seconds:.2f} s an update", flush=True)
    result["same adapter"] = len(adapters) == 1
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def measure(workdir: Path, config: Config) -> tuple[float, str]:
    """(median seconds from one update to the next, hash of the adapter that comes out)."""
    with open_run(workdir, config) as run:
        run_stages(run, config)
    times = [json.loads(line)["time"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [after - before for before, after in zip(times, times[1:], strict=False)]
    return statistics.median(steps[:-1] or steps), sha256_file(workdir / "sft/adapter/adapter_model.safetensors")


if __name__ == "__main__":
    main()
