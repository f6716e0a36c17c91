r"""A distillation that is killed loses nothing, asks nothing again that it has answers to, ends with the same record.

DISTILL_SAMPLES=2000 DISTILL_KILLS=20 DISTILL_SLOTS=64 DISTILL_TIMEOUT=10 \
    python -m pytest -s tests/distill/test_distill_kill.py
"""

import os
import random
import time
from collections import Counter

import pytest  # noqa: E402

pytestmark = pytest.mark.slow

SAMPLES = int(os.environ.get("DISTILL_SAMPLES", 200))
KILLS = int(os.environ.get("DISTILL_KILLS", 3))
SLOTS = int(os.environ.get("DISTILL_SLOTS", 16))
SECONDS = float(os.environ.get("DISTILL_TIMEOUT", 3))  # more on a busy machine: a late answer would be one more request


def keyed(rows):
    """Rows by what they are about, without times."""
    found = {}
    for row in rows:
        key = (row["id"], row["step"], row["attempt"], tuple((row.get("of") or {}).values()))
        assert key not in found, f"twice in the record: {key}"
        found[key] = {name: value for name, value in row.items() if name not in ("time", "crc32")}
    return found


def number(row):
    return int(row["prompt"]["user"].partition("#")[2].split()[0])


def fields(served):
    return {
        "teacher.url": served.url,
        "teacher.model": "m",
        "teacher.concurrency": SLOTS,
        "teacher.retries": 3,
        "teacher.timeout_seconds": SECONDS,
        "teacher.backoff_seconds": 0.02,
        "refine": True,
        "filter.judge": True,
    }


def test_killed_at_random_moments(world, tmp_path):
    data, served = world(SAMPLES, rate=0.4, delay=0.02, slow=0.5)
    log = tmp_path / "log"
    undisturbed = world.start(world.job("distill", tmp_path / "whole", data, **fields(served)), log)
    assert undisturbed.wait() == 0, log.read_text()
    whole = world.rows(tmp_path / "whole")
    first = served.lines()

    out, rng = tmp_path / "out", random.Random(os.environ.get("DISTILL_SEED", "0"))
    killed = late = repeated = 0
    size = (tmp_path / "whole" / "record.jsonl").stat().st_size
    moments = sorted(rng.uniform(0.02, 0.98) * size for _ in range(KILLS))
    record = out / "record.jsonl"
    for moment in [*moments, None]:
        had = world.rows(out) if record.exists() else []
        known = {(number(row), row["step"], row["parameters"]["seed"]) for row in had}
        judged = Counter((number(row), row["parameters"]["seed"]) for row in had if row["step"] == "judge")
        before = served.lines()
        process = world.start(world.job("distill", out, data, **fields(served)), log)
        if moment is None:
            assert process.wait() == 0, log.read_text()
        else:
            while process.poll() is None and not (record.exists() and record.stat().st_size >= moment):
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
            late += process.poll() is not None
            killed += process.poll() is None
            world.kill(process)
        # judges are asked about several answers with one seed: how often, not whether
        asked = Counter(
            (row["sample"], row["step"], row["attempt"]) for row in served.requests(before) if row["retry"] == 0
        )
        again = {key for key in asked if key[1] != "judge"} & known
        assert not again, f"asked although the answer was there: {sorted(again)[:3]}"
        new = Counter((number(row), row["parameters"]["seed"]) for row in world.rows(out) if row["step"] == "judge")
        for (sample, step, attempt), times in asked.items():
            if step == "judge" and moment is None:
                assert times == new[sample, attempt] - judged[sample, attempt]

    rows = world.rows(out)
    ours, theirs = keyed(rows), keyed(whole)
    varying = {row["sample"] for row in served.requests() if row["fault"] == "varying"}
    faults = Counter(row["fault"] for row in served.requests() if row["retry"] == 0)
    assert len(faults) == 1 + 20  # every kind, and none
    # what differs each time is checked for loss and doubles alone: later steps hang on what the answer was
    by_number = {row["id"]: number(row) for row in whole}
    same = {key for key in ours.keys() | theirs.keys() if by_number[key[0]] not in varying}
    assert {key: ours.get(key) for key in same} == {key: theirs.get(key) for key in same}
    assert {row["id"] for row in rows} == {row["id"] for row in whole} and len(by_number) == SAMPLES
    sent = Counter((row["sample"], row["step"], row["attempt"]) for row in served.requests(first) if row["retry"] == 0)
    kept = Counter((number(row), row["step"], row["parameters"]["seed"]) for row in rows)
    repeated = sum((sent - kept).values())
    assert not kept - sent and repeated <= SLOTS * killed
    assert killed == KILLS - late and late <= KILLS // 4
    print(
        f"\n{SAMPLES} samples, {SLOTS} slots, {killed} kills ({late} came too late): {len(rows)} answers, {len(same)}"
        f" of them compared, equal to an undisturbed run's apart from times; {repeated} requests repeated, at most "
        f"{SLOTS} a kill allowed"
    )
    print("faults:", ", ".join(f"{fault or 'none'} {n}" for fault, n in sorted(faults.items())))
