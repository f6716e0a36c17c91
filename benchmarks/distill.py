"""How well a distillation fills its slots, and what it holds in memory.

    python benchmarks/distill.py [--samples 4000] [--slots 64] [--delay 0.2] [--frames 4] [--out FILE.md]
    python benchmarks/distill.py --samples 20000 --delay 0 --memory

A local endpoint (tests/distill/endpoint.py) answers each request after `delay` seconds. It counts how many requests
are open; busy is their mean number over the slots, from the first request to the last, as the endpoint sees it: the
time to start and to write the report is left out, and stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "distill"))


def measure(folder: Path, samples: int, slots: int, delay: float, frames: int, seconds: float) -> dict:
    """One run of the job over fresh records."""
    from conftest import Served, job, write_records

    polarities = write_records(folder / "data", samples, frames, seconds)
    served = Served(folder, polarities, delay=delay, log="")
    try:
        command = job(
            "distill",
            folder / "out",
            folder / "data",
            **{"teacher.url": served.url, "teacher.model": "m", "teacher.concurrency": slots},
        )
        environment = {**os.environ, "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
        begun = time.monotonic()
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        watched, resident = psutil.Process(process.pid), []
        while process.poll() is None:
            rows = _lines(folder / "out" / "record.jsonl")
            try:
                resident.append((rows, watched.memory_info().rss / 2**20))
                cpu = sum(watched.cpu_times()[:2])
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                pass
            time.sleep(0.5)
        wall = time.monotonic() - begun
        if process.returncode:
            raise SystemExit((folder / "log").read_text())
        with urllib.request.urlopen(served.url.replace("/v1", "/busy")) as response:
            counted = json.loads(response.read())
    finally:
        served.close()
    return {
        "busy": counted["busy"] / (counted["span"] * slots),
        "most": counted["most"],
        "span": counted["span"],
        "answers": counted["answers"],
        "wall": wall,
        "cpu": cpu,
        "resident": resident,
    }


def _lines(path: Path) -> int:
    """About how many rows there are, by size: reading 100 MB twice a second would be felt."""
    return path.stat().st_size // 2300 if path.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--frames", type=int, default=4, help="of 28 x 28 pixels, a sample")
    parser.add_argument("--seconds", type=float, default=0.5, help="of sound, a sample")
    parser.add_argument("--memory", action="store_true", help="show how memory grows with the samples")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), args.samples, args.slots, args.delay, args.frames, args.seconds)
    lines = [
        f"{args.samples:,} samples of {args.frames} frames and {args.seconds:g} s of sound, {args.slots} slots, "
        f"an endpoint that answers after {1000 * args.delay:g} ms:",
        "",
        f"- {found['busy']:.1%} of the slots busy, {found['most']} at most, over {found['span']:.1f} s",
        f"- {found['answers'] / found['span']:.0f} answers a second"
        + (f" of {args.slots / args.delay:.0f} that the endpoint could give" if args.delay else ""),
        f"- {found['wall']:.1f} s from start to report, {found['cpu']:.1f} s of one core",
    ]
    if args.memory:
        lines.append(
            "- resident memory: "
            + ", ".join(f"{mib:.0f} MiB after {rows:,} answers" for rows, mib in _spread(found["resident"], 6))
        )
    text = "\n".join(lines)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def _spread(values: list, number: int) -> list:
    """Some of the values, evenly over those with answers."""
    started = [value for value in values if value[0] > 100]
    return [started[round(i * (len(started) - 1) / (number - 1))] for i in range(number)] if started else []


if __name__ == "__main__":
    main()
