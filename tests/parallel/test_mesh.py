"""Sizes of the mesh, and which rows each process reads."""

from types import SimpleNamespace

import numpy as np
import pytest
from jax.sharding import Mesh

from emsa_jax.errors import InputError
from emsa_jax.parallel.mesh import PRESETS, Need, batch_shards, choose, make_mesh, rows_held
from emsa_jax.parallel.parallel_options import MeshOptions

GB = 10**9
SEVEN = Need(18 * GB, 2 * GB, 28, 4)


@pytest.mark.parametrize(
    "devices, memory, need, sizes, why",
    [
        (1, 80 * GB, SEVEN, (1, 1, 1), "one device"),
        (8, 80 * GB, SEVEN, (8, 1, 1), "20.0 GB copied: at most 40% of 80 GB on each H100"),
        (16, 17 * GB, SEVEN, (4, 1, 4), "20.0 GB cut over 4 devices by heads"),
        (4, 40 * GB, SEVEN, (2, 1, 2), "cut over 2 devices"),
        (16, 8 * GB, SEVEN, (2, 2, 4), "so fsdp cuts them over 2"),
        (
            8,
            17 * GB,
            Need(6 * GB, 10 * GB, 16, 2),
            (2, 2, 2),
            "so fsdp cuts them over 2",
        ),  # two heads: tensor ends there
        (8, 0, SEVEN, (8, 1, 1), "memory unknown"),
        (3, 10 * GB, SEVEN, (1, 3, 1), "so fsdp cuts them over 3"),
    ],
)
def test_auto_cuts_by_heads_before_it_gathers(devices, memory, need, sizes, why):
    found, reason = choose(MeshOptions(), devices, "H100", memory, need)
    assert found == sizes and why in reason


@pytest.mark.parametrize(
    "options, devices, sizes",
    [
        ({}, 4, (4, 1, 1)),
        ({"data": 2, "tensor": 2}, 4, (2, 1, 2)),
        ({"tensor": 2}, 4, (2, 1, 2)),
        ({"fsdp": 4}, 4, (1, 4, 1)),
        ({"preset": "v5e-16"}, 16, (4, 1, 4)),
        ({"preset": "v5e-16", "fsdp": 16}, 16, (1, 16, 1)),
    ],
)
def test_what_is_given_counts(options, devices, sizes):
    assert choose(MeshOptions(**options), devices)[0] == sizes


@pytest.mark.parametrize(
    "options, devices, words",
    [
        ({"tensor": 3}, 4, "data 1 x fsdp 1 x tensor 3 is not the 4 devices"),
        ({"data": 2}, 4, "mesh.data, mesh.fsdp"),
        ({"tensor": 8}, 4, "data 0"),
        ({"preset": "v5p-8"}, 16, "preset v5p-8"),
    ],
)
def test_sizes_that_are_not_the_devices(options, devices, words):
    with pytest.raises(InputError, match="mesh: ") as error:
        choose(MeshOptions(**options), devices)
    assert words in str(error.value)


def test_presets_are_as_large_as_they_say():
    chips = {"v5e-16": 16, "v5p-8": 4, "v5p-64": 32, "h100-1": 1, "h100-8": 8, "h200-1": 1, "h200-8": 8}
    assert {name: int(np.prod(sizes)) for name, sizes in PRESETS.items()} == chips
    with pytest.raises(InputError, match="mesh.fsdp must be at least 0"):
        MeshOptions(fsdp=-1)


def test_slices_are_those_of_the_devices():
    devices = [
        SimpleNamespace(platform="tpu", device_kind="TPU v5 lite", process_index=0, id=i, slice_index=i // 4)
        for i in range(8)
    ]
    with pytest.raises(InputError, match="mesh.data 1 must be a multiple of the 2 slices"):
        make_mesh(MeshOptions(tensor=8), devices)


def mesh_of(processes: list[int], sizes: tuple[int, int, int]) -> Mesh:
    devices = np.empty(len(processes), object)
    devices[:] = [SimpleNamespace(process_index=p, id=i) for i, p in enumerate(processes)]
    shape = dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))
    return SimpleNamespace(devices=devices.reshape(sizes), shape=shape)


@pytest.mark.parametrize(
    "processes, sizes, held",
    [
        ([0, 0, 1, 1], (4, 1, 1), [(0, 2), (1, 2)]),
        ([0, 0, 1, 1], (1, 4, 1), [(0, 2), (1, 2)]),
        ([0, 0, 1, 1], (2, 1, 2), [(0, 2), (1, 2)]),
        ([0, 0, 1, 1], (1, 1, 4), [(0, 1), (0, 1)]),  # one row of heads over both: both read all
        ([0, 0, 1, 1, 0, 0, 1, 1], (2, 1, 4), [(0, 1), (0, 1)]),  # halves of every row of heads
        ([0, 1, 2, 3], (2, 1, 2), [(0, 2), (0, 2), (1, 2), (1, 2)]),
    ],
)
def test_rows_of_processes(processes, sizes, held):
    mesh = mesh_of(processes, sizes)
    assert [rows_held(mesh, p) for p in sorted(set(processes))] == held
    assert batch_shards(mesh) == sizes[0] * sizes[1]


@pytest.mark.parametrize("processes", [[0, 1, 1, 0], [0, 0, 0, 1]])
def test_rows_that_are_no_block(processes):
    with pytest.raises(InputError, match="no block of their own"):
        rows_held(mesh_of(processes, (4, 1, 1)), 0)
