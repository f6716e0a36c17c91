"""Accelerators by name."""

import subprocess
import sys

import jax
import pytest

from emsa_jax.errors import InputError
from emsa_jax.planning.topologies import CHIPS, compile_without_devices, topology


@pytest.mark.parametrize(
    "name, devices, slices, platform",
    [
        ("v5e:4x4", 16, 1, "tpu"),
        ("v5p:2x2x1", 4, 1, "tpu"),
        ("2*v5e:16x16", 512, 2, "tpu"),
        ("v6e:2x2", 4, 1, "tpu"),
        ("h100:1", 1, 1, "gpu"),
        ("h100:8", 8, 1, "gpu"),
        ("h200:16", 16, 2, "gpu"),
    ],
)
def test_names(name, devices, slices, platform):
    found = topology(name)
    assert (found.devices, found.slices, found.chip.platform) == (devices, slices, platform)


@pytest.mark.parametrize(
    "name, said",
    [
        ("v5litepod-16", "v5e:4x4"),
        ("h100", "h100:8"),
        ("tpu:4x4", "known are v5e"),
        ("v5p:2x2", "v5p:2x2x2"),
        ("v5e:4x4x4", "has 2 axes"),
        ("v5e:0x4", "at least 1"),
        ("h100:4x2", "h100:16"),
        ("2*h100:8", "counted"),
        ("v6e-8", "v6e:2x4"),
        ("v5e:3x4", "1, 2, 4, 8 or 16"),
        ("v5e:32x4", "1, 2, 4, 8 or 16"),
        ("h100:12", "whole machines of 8"),
    ],
)
def test_other_names_are_refused(name, said):
    with pytest.raises(InputError, match=r"topology .*" + said.replace("*", r"\*")):
        topology(name)


def test_memory_and_bandwidth_are_a_gpus_own():
    for name, total in (("h100", 84_929_347_584), ("h200", 150_754_820_096)):
        chip = CHIPS[name]
        assert chip.target["device_memory_size"] == total and chip.memory == int(0.92 * total)
    assert CHIPS["v5e"].memory == 15.75 * 2**30


def test_a_process_that_has_looked_for_devices_is_refused():
    jax.devices()
    with pytest.raises(RuntimeError, match="looked for devices already"):
        compile_without_devices()


def test_without_the_compilers_one_line_says_what_to_install():
    code = (
        "from emsa_jax.planning.topologies import *\ncompile_without_devices()\n"
        "for name in ('v5e:4x4', 'h100:8'):\n"
        "    try: topology(name).described()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['libtpu'] = None\n" + code],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", "JAX_PLATFORMS": "cpu"},
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith("InputError topology ") for line in lines)
    assert all("requirements-aot.txt" in line for line in lines)
