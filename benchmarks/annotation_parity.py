"""Votes and Fleiss' kappa against golden values of another implementation.

python benchmarks/annotation_parity.py --oracle DIR     (DIR holds metrics_golden.npz and metrics_golden.json)
"""

import argparse
import json
from pathlib import Path

import numpy as np

from emsa_jax.data.annotation.agreement import fleiss_kappa
from emsa_jax.data.annotation.votes import majority, score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle", type=Path, required=True)
    oracle = parser.parse_args().oracle
    arrays = np.load(oracle / "metrics_golden.npz")
    failed = checked = 0
    for name, golden in json.loads((oracle / "metrics_golden.json").read_text())["annotators"].items():
        ratings, vote = arrays[f"ann/{name}/ratings"], arrays[f"ann/{name}/vote"]
        counts = (ratings[..., None] == np.arange(golden["n_cat"])).sum(1)
        ours = [-1 if (label := majority(map(str, row))) is None else int(label) for row in ratings]
        found = {
            "kappa": abs(fleiss_kappa(counts) - golden["kappa"]) < 1e-12,
            "votes": ours == vote.tolist(),
            "no majority": ours.count(-1) == golden["no_majority"],
        }
        if f"ann/{name}/mean_score" in arrays:  # categories 0, 1, 2 stand for -1, 0, 1
            means = [score(str(r - 1) for r in row) for row in ratings]
            found["score"] = bool(np.abs(means - arrays[f"ann/{name}/mean_score"]).max() < 1e-6)
        checked += len(found)
        failed += sum(not good for good in found.values())
        print(
            f"{name}: {len(ratings)} items, {golden['n_cat']} categories, kappa {golden['kappa']:.4f}: "
            + ", ".join(f"{what} {'equal' if good else 'DIFFERS'}" for what, good in found.items())
        )
    print(f"{checked} comparisons, {failed} failed")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
