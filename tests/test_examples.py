"""The examples run as they are, and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_one_step_prints_reward_and_loss():
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "one_step.py"],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(
        r"reward (?P<reward>\S+), hard groups 4 of 4\nloss (?P<loss>\S+), gradient norm (?P<norm>\S+)\n", done.stdout
    )
    assert found, done.stdout
    assert 0 < float(found["reward"]) < 3  # hinted answers are paid for their polarity, the others for nothing
    assert float(found["loss"]) != 0 and float(found["norm"]) > 0
