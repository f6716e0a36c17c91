"""Placement: what no device can hold is said before anything is loaded."""

import pytest

from emsa_jax.errors import InputError
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker_config import preset
from emsa_jax.policy.tiny import SPECIAL, tiny_config
from emsa_jax.runtime.placement import Placement


@pytest.mark.parametrize(
    ("trained", "dtype", "fields"),
    [
        ("all", "float32", "set mesh.tensor or mesh.fsdp, or dtype=bfloat16, or sft.trainable=lora"),
        (None, "float32", "set mesh.tensor or mesh.fsdp, or dtype=bfloat16"),
        (LoraOptions(), "bfloat16", "set mesh.tensor or mesh.fsdp"),
    ],
)
def test_a_policy_that_no_device_holds_is_an_error_of_every_stage(monkeypatch, trained, dtype, fields):
    """Also of those for which no memory plan is made, such as the export."""
    monkeypatch.setattr("emsa_jax.runtime.placement.device_bytes", lambda: 10**9)
    with pytest.raises(InputError, match=f"on each device, which has 1; {fields}$"):
        Placement.of(preset("7B"), mesh=MeshOptions(), dtype=dtype, trained=trained)
    tiny = tiny_config({name: i for i, name in enumerate(SPECIAL)}, 64)
    Placement.of(tiny, mesh=MeshOptions(), dtype=dtype, trained=trained)
