"""The table of docs/scaling.md: what each phase of a step needs, from what `plan` printed for each topology.

    make test-aot ARGS=-rP | python benchmarks/memory_table.py [--out benchmarks/results/memory_table.md]

Reads the lines of JSON among what it is given, such as the last line of `make plan`; the rest it passes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

PHASES = ("encode", "prefill", "decode", "update")


def row(found: dict) -> str:
    """One topology: bytes of each device, GB, and seconds to compile."""
    mesh = " x ".join(str(size) for size in found["mesh"].values())
    sizes = [sum(found["held"].values()), *(found["phases"][phase] for phase in PHASES), found["bytes_there"]]
    columns = " | ".join(f"{size / 1e9:.1f}" for size in sizes)
    seconds = sum(found["compile_seconds"].values())
    return (
        f"| `{found['topology']}` | {mesh} | {found['prompts_per_step']} | {found['micro_batches']} | {columns} "
        f"| {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    plans, last = {}, "no tests"
    for line in sys.stdin:
        print(line, end="", flush=True)
        if line.startswith('{"fit"'):
            found = json.loads(line)
            if found["policy"].startswith("qwen"):  # not those of a test's small policies
                plans[found["topology"]] = found
        if " passed in " in line or " failed" in line:
            last = line.strip("= \n")
    head = [
        "topology",
        "mesh data x fsdp x tensor",
        "prompts a step",
        "micro-batches",
        "held, GB",
        *PHASES,
        "of",
        "s to compile",
    ]
    command = "`make test-aot ARGS=-rP | python benchmarks/memory_table.py`"
    lines = [
        "# What a step needs of each device",
        "",
        f"{command}: {last}",
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(row(plans[name]) for name in sorted(plans)),
    ]
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
