"""How fast clips become records and records become batches, and whether memory stays flat.

    python benchmarks/data.py [--data DIR] [--clips 200] [--records 100000] [--quick] [--out benchmarks/results/data.md]

prepare   clips of 2 to 8 s (640 x 360 pixels, 25 frames a second, h264 and aac; or every mp4 below DIR, again and
          again) through `prepare`, against a plain loop in one process that does the same decoding, resizing and
          log-mel, codecs on one thread, nothing written; and against the same loop when it packs records too.
          Start-up is excluded: prepare runs on a few clips and on all, and the difference counts; the loop is warm.
pipeline  the records made by that, as batches of 8, read ahead by threads; and one by one without any.
memory    --records short sounds through prepare, then through the pipeline, each in a process of its own: peak
          resident memory after 10% and after all of them. Prepare holds what the index says of each clip until it
          is written, so it is allowed to grow by that; the pipeline is not.

--quick tries all of it in seconds; its numbers mean nothing. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from emsa_jax.data.batch_order import Plan
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.encode import encode
from emsa_jax.data.pipeline import Clips, batches
from emsa_jax.data.prepare import prepare
from emsa_jax.data.readers import read_samples
from emsa_jax.data.records import read_index

FIELDS = ("id", "text", "label", "mode", "video", "audio")
FPS, HEIGHT, WIDTH, RATE, BATCH = 25, 360, 640, 44_100, 8
TARGET = 1.6
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def write_clip(path: Path, seconds: float, seed: int) -> None:
    """A window that wanders over noise of several scales, and a gliding tone in noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    field = np.tile(coarse.repeat(16, axis=0).repeat(16, axis=1), (2, 2, 1))
    field = field // 2 + rng.integers(0, 40, field.shape, dtype=np.uint8)
    times = np.arange(int(seconds * RATE)) / RATE
    sound = 0.2 * np.sin(2 * np.pi * (200 + 40 * times) * times) + 0.02 * rng.standard_normal(len(times))
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = file.add_stream("aac", rate=RATE, layout="mono")
        for i in range(int(seconds * FPS)):
            y, x = 2 * i % HEIGHT, 3 * i % WIDTH
            image = np.ascontiguousarray(field[y : y + HEIGHT, x : x + WIDTH])
            file.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(video.encode())
        for start in range(0, len(sound), 1024):
            block = sound[None, start : start + 1024].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            file.mux(audio.encode(frame))
        file.mux(audio.encode())


def write_table(path: Path, media: Iterable[Path], column: str) -> Path:
    """A csv of clips, all for training."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, restval="")
        writer.writeheader()
        for i, name in enumerate(media):
            writer.writerow({"id": f"clip{i}", "text": f"utterance {i}", "label": 0.5, "mode": "train", column: name})
    return path


def quietly(items: Iterable, total: int) -> Iterator:
    return iter(items)


def timed_prepare(table: Path, out: Path) -> float:
    begun = time.perf_counter()
    prepare(table, out, PrepareOptions(), (-1.0, 1.0), "en", progress=quietly)
    return time.perf_counter() - begun


def plain_loop(table: Path, options: PrepareOptions) -> float:
    """Seconds a clip of decoding, resizing and log-mel in this process, one clip after the other."""
    samples = read_samples(table, (-1.0, 1.0), "en")
    encode(samples[0], "", options)  # imports and filter banks
    begun = time.perf_counter()
    for sample in samples:
        encode(sample, "", options)
    return (time.perf_counter() - begun) / len(samples)


def prepare_speed(folder: Path, media: list[Path], few: int) -> dict:
    """Clips a second, and seconds of media a second, of prepare and of the plain loops."""
    whole, start = (write_table(folder / f"{n}.csv", media[:n], "video") for n in (len(media), few))
    raw = replace(PrepareOptions(), frame_format="raw")  # such frames cost nothing to pack
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        loop, packing = pool.apply(plain_loop, (whole, raw)), pool.apply(plain_loop, (whole, PrepareOptions()))
        started = timed_prepare(start, folder / "few")
        seconds = (timed_prepare(whole, folder / "records") - started) / (len(media) - few)
        loop = min(loop, pool.apply(plain_loop, (whole, raw)))  # before and after: machines drift
    length = float(np.mean([entry.seconds for entry in read_index(folder / "records", "train")]))
    return {
        "clips": len(media),
        "mean_seconds": length,
        "clips_per_second": 1 / seconds,
        "real_time_factor": length / seconds,
        "loop_clips_per_second": 1 / loop,
        "loop_real_time_factor": length / loop,
        "packing_loop_clips_per_second": 1 / packing,
        "speedup": loop / seconds,
        "speedup_packing": packing / seconds,
    }


def pipeline_speed(records: Path, num_samples: int) -> dict:
    """Samples a second of `batches`, and of reading one by one."""
    source = Clips(records, "train")
    plan = Plan([entry.mel_frames for entry in read_index(records, "train")], (10**6,), BATCH, 0)
    stream = batches(source, plan, 0, 1 + -(-num_samples // BATCH))
    next(stream)  # imports and threads
    begun = time.perf_counter()
    count = sum(len(clips) for _, clips in stream)
    threads = count / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for index in islice(cycle(range(len(source))), count):
        source[index]
    return {"samples": count, "samples_per_second": threads, "one_by_one": count / (time.perf_counter() - begun)}


def peak_mb() -> float:
    """Peak resident memory of this process in MiB, as Linux says it; `getrusage` counts the parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def watched(items: Iterable, peaks: dict[int, float], marks: tuple[int, ...]) -> Iterator:
    """The items, with peak memory noted when as many as `marks` say have passed."""
    for count, item in enumerate(items, 1):
        yield item
        if count in marks:
            peaks[count] = peak_mb()


def prepare_memory(table: Path, out: Path, marks: tuple[int, ...]) -> dict[int, float]:
    peaks: dict[int, float] = {}
    prepare(table, out, PrepareOptions(), (-1.0, 1.0), "en", progress=lambda items, _: watched(items, peaks, marks))
    return peaks


def pipeline_memory(records: Path, marks: tuple[int, ...]) -> dict[int, float]:
    plan = Plan([entry.mel_frames for entry in read_index(records, "train")], (10**6,), BATCH, 0)
    peaks: dict[int, float] = {}
    read = (clip for _, clips in batches(Clips(records, "train"), plan, 0, plan.batches_per_epoch) for clip in clips)
    for _ in watched(read, peaks, marks):
        pass
    return peaks


def memory(folder: Path, num_records: int) -> dict:
    """Peaks in MiB after a tenth of the records and after all of them."""
    rng, marks = np.random.default_rng(0), (num_records // 10, num_records)
    sounds = [folder / f"{i}.wav" for i in range(100)]
    for sound in sounds:
        soundfile.write(sound, 0.1 * rng.standard_normal(1600), 16_000)
    table = write_table(folder / "sounds.csv", islice(cycle(sounds), num_records), "audio")
    peaks = {}
    for name, function, paths in (
        ("prepare", prepare_memory, (table, folder / "sounds")),
        ("pipeline", pipeline_memory, (folder / "sounds",)),
    ):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # a peak of its own
            begun = time.perf_counter()
            found = pool.apply(function, (*paths, marks))
            peaks[name] = {"seconds": time.perf_counter() - begun, "first": found[marks[0]], "all": found[marks[1]]}
    return {"records": num_records, **peaks}


def rows_of(found: dict) -> list[tuple[str, str]]:
    p, q, m = found["prepare"], found["pipeline"], found["memory"]
    rows = [
        ("clips", f"{p['clips']}, {p['mean_seconds']:.2f} s on average"),
        ("prepare", f"{p['clips_per_second']:.2f} clips/s, {p['real_time_factor']:.1f} x real time"),
        (
            "plain loop, nothing written",
            f"{p['loop_clips_per_second']:.2f} clips/s, {p['loop_real_time_factor']:.1f} x real time",
        ),
        ("plain loop, packing records", f"{p['packing_loop_clips_per_second']:.2f} clips/s"),
        (f"speed-up (target {TARGET})", f"{p['speedup']:.2f}; over the packing loop {p['speedup_packing']:.2f}"),
        ("pipeline", f"{q['samples_per_second']:.1f} samples/s; one by one {q['one_by_one']:.1f}"),
    ]
    return rows + [
        (
            f"peak memory of {name}, {m['records'] // 10:,} and {m['records']:,} records",
            f"{m[name]['first']:.0f} and {m[name]['all']:.0f} MiB ({m[name]['seconds']:.0f} s)",
        )
        for name in ("prepare", "pipeline")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ.update(ONE_THREAD)  # of every process that is started here, as of prepare's own
    clips, records, few = (6, 200, 2) if args.quick else (args.clips, args.records, 8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.data:
            media = list(islice(cycle(sorted(args.data.absolute().rglob("*.mp4"))), clips))
            if not media:
                parser.error(f"there is no mp4 below {args.data}")
        else:
            media = [folder / f"{i}.mp4" for i in range(clips)]
            lengths = np.random.default_rng(0).uniform(*((1, 2) if args.quick else (2, 8)), clips)
            with multiprocessing.get_context("spawn").Pool() as pool:
                pool.starmap(write_clip, zip(media, lengths, range(clips), strict=True))
        found = {}
        for name, measure in (
            ("prepare", lambda: prepare_speed(folder, media, few)),
            ("pipeline", lambda: pipeline_speed(folder / "records", len(media) if args.quick else 10 * len(media))),
            ("memory", lambda: memory(folder, records)),
        ):
            found[name] = measure()
            print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    found["machine"] = {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": platform.machine(),
        "python": platform.python_version(),
        "quick": args.quick,
    }
    rows = rows_of(found)
    table = Table("what", "measured")
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=True).print(table)
    if args.out:
        lines = [
            "# Data",
            "",
            f"`python benchmarks/data.py`, {found['machine']['cores']} cores",
            "",
            "| what | measured |",
            "|---|---|",
            *(f"| {a} | {b} |" for a, b in rows),
            "",
            "```json",
            json.dumps(found),
            "```",
        ]
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
