"""How well claims are read: precision and recall against labelled reasonings.

python benchmarks/claims.py [FILE.jsonl] [--wrong]
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

from emsa_jax.answers.claims import read_claims

LABELLED = Path(__file__).parents[1] / "tests/fixtures/claims.jsonl"


def measure(rows) -> dict[str, dict[str, float]]:
    """Origin -> {"n", "claims", "precision", "recall"} of what is read of each row's "think"."""
    counts = defaultdict(Counter)
    for row in rows:
        true, read = {tuple(claim) for claim in row["claims"]}, read_claims(row["think"]).stated
        counts[row["origin"]] += Counter(n=1, true=len(true), read=len(read), both=len(true & read))
    return {
        origin: {"n": c["n"], "claims": c["true"], "precision": c["both"] / c["read"], "recall": c["both"] / c["true"]}
        for origin, c in counts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=LABELLED)
    parser.add_argument("--wrong", action="store_true", help="print the reasonings that are read wrongly")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.file.read_text(encoding="utf-8").splitlines()]
    for origin, found in measure(rows).items():
        rates = "  ".join(f"{name} {found[name]:.3f}" for name in ("precision", "recall"))
        print(f"{origin:12} n {found['n']:3}  claims {found['claims']:3}  {rates}")
    for row in rows if args.wrong else ():
        true, read = {tuple(claim) for claim in row["claims"]}, read_claims(row["think"]).stated
        if true != read:
            print(f"{row['id']}: {row['think']}\n    missed {sorted(true - read)}  wrong {sorted(read - true)}")


if __name__ == "__main__":
    main()
