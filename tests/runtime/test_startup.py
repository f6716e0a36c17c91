"""A device that is asked for and not there."""

import os
import subprocess
import sys

import pytest

ROOT = os.path.abspath(os.path.join(__file__, "../../.."))


@pytest.mark.parametrize("asked", ["cuda", "abacus"])
def test_a_device_that_is_not_there(asked, tmp_path):
    command = [sys.executable, "-m", "emsa_jax.main", "--config=configs/sft.py", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": asked}, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.stderr
    assert done.stderr.startswith(f"error: JAX_PLATFORMS is '{asked}', but there is no such device here")
    assert not (tmp_path / "run").exists()
