"""Media with bytes changed at random: each clip ends in the records or in quarantine, none crashes or hangs prepare.

FUZZ_FILES=2000 FUZZ_SEED=1 python -m pytest tests/data/test_media_fuzz.py -s
"""

import csv
import os
import time

import numpy as np
import soundfile

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.prepare import prepare
from emsa_jax.data.records import RecordSource, read_index, unpack

FILES = int(os.environ.get("FUZZ_FILES", 120))
SEED = int(os.environ.get("FUZZ_SEED", 0))


def flip(content, rng):
    for place in rng.integers(0, len(content), rng.integers(1, 20)):
        content[place] = rng.integers(256)


def flip_head(content, rng):
    """Where sizes, rates and counts are."""
    for place in rng.integers(0, min(200, len(content)), rng.integers(1, 4)):
        content[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])


def flip_tail(content, rng):
    """Where an mp4 has its tables."""
    for place in rng.integers(max(0, len(content) - 1500), len(content), rng.integers(1, 6)):
        content[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])


def cut(content, rng):
    del content[rng.integers(0, len(content)) :]


def cut_out(content, rng):
    start = rng.integers(0, len(content))
    del content[start : start + rng.integers(1, 400)]


def blank(content, rng):
    start = rng.integers(0, len(content))
    size = min(int(rng.integers(1, 400)), len(content) - int(start))
    content[start : start + size] = bytes([rng.choice([0, 255])]) * size


def repeat(content, rng):
    start = rng.integers(0, len(content))
    content[start:start] = content[start : start + rng.integers(1, 400)]


MUTATIONS = (flip, flip_head, flip_tail, cut, cut_out, blank, repeat)


def test_mutated_media(tmp_path, clip):
    rng = np.random.default_rng(SEED)
    sound = (0.1 * rng.standard_normal(6000)).astype(np.float32)
    clip("0.mp4", frames=10, sound=clip.sine(1.0))
    clip("1.mp4", frames=10, codec="libx264", gop=5)
    soundfile.write(tmp_path / "2.wav", sound, 16000)
    soundfile.write(tmp_path / "3.flac", sound, 22050)
    originals = ["0.mp4", "1.mp4", "2.wav", "3.flac"]
    names = list(originals)
    for number in range(FILES):
        name = originals[number % len(originals)]
        content = bytearray((tmp_path / name).read_bytes())
        for _ in range(rng.integers(1, 3)):
            if content:
                MUTATIONS[rng.integers(len(MUTATIONS))](content, rng)
        names.append(f"m{number}-{name}")
        (tmp_path / names[-1]).write_bytes(content)
    with open(tmp_path / "clips.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "label", "mode", "video", "audio"])
        for name in names:
            video = name.endswith("mp4")
            rows.writerow([name, "", 0, "train", name if video else "", "" if video else name])

    options = PrepareOptions(num_frames=4, workers=2, max_bad_share=1.0)
    began = time.monotonic()
    manifest = prepare(
        tmp_path / "clips.csv",
        tmp_path / "out",
        options,
        (-1.0, 1.0),
        "en",
        lambda items, total: iter(items),
        timeout_seconds=10.0,
    )
    seconds = time.monotonic() - began

    reasons = {q["id"]: q["reason"] for q in manifest.quarantined}
    arrived = [e.id for e in read_index(tmp_path / "out", "train")]
    assert sorted([*arrived, *reasons]) == sorted(names)
    assert set(originals) <= set(arrived)
    for reason in reasons.values():
        assert reason.startswith(("video: ", "sound: ", "the decoder crashed", "it does not fit")), reason
        assert len(reason.splitlines()) == 1
    assert not [reason for reason in reasons.values() if "took longer" in reason]
    for record in map(RecordSource(tmp_path / "out", "train").__getitem__, range(len(arrived))):
        clip_ = unpack(record)
        assert np.isfinite(clip_.mel).all() and len(clip_.frames) <= 4 and clip_.frame_rate < 1e4
    crashes = sum("crashed" in reason for reason in reasons.values())
    print(
        f"\n{len(names)} files in {seconds:.1f} s: {len(arrived)} arrived, {len(reasons)} quarantined, "
        f"{crashes} decoders crashed"
    )
