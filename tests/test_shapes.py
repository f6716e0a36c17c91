"""Shapes that the package's annotations name hold in every test (tests/shapes.py)."""

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import pytest

from emsa_jax.learning import advantages
from emsa_jax.learning.losses import kl_k3
from emsa_jax.policy import attention, audio, bert, clip, decoder, hubert, layers, vision

ROOT = Path(__file__).parents[1]
PAIR = jnp.zeros((2, 3))


def test_a_function_of_the_package_refuses_another_shape():
    assert kl_k3(PAIR, PAIR).shape == PAIR.shape
    with pytest.raises(jaxtyping.TypeCheckError, match="ref_logps"):
        kl_k3(PAIR, jnp.zeros((2, 4)))


def test_another_type_of_numbers_is_refused():
    with pytest.raises(jaxtyping.TypeCheckError, match="mask"):
        decoder.last_valid(jnp.zeros((2, 3, 4)), PAIR.astype(int))


TOWERS = [audio.encode_audio, vision.encode_vision, clip.encode_clip, bert.encode_bert, hubert.encode_hubert]


@pytest.mark.parametrize(
    "function", [attention.attention, decoder.forward, layers.linear, advantages.advantages, *TOWERS]
)
def test_the_core_is_checked_wherever_it_is_imported_from(function):
    assert function.__wrapped__.__module__ == function.__module__
    importers = [module for name, module in sys.modules.items() if name.startswith("emsa_jax.")]
    found = [vars(m)[function.__name__] for m in importers if function.__name__ in vars(m)]
    assert [one for one in found if getattr(one, "__module__", "") == function.__module__ and one is not function] == []


def test_a_run_needs_no_jaxtyping():
    code = "import sys; import emsa_jax.training.grpo; print('jaxtyping' in sys.modules, 'beartype' in sys.modules)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True)
    assert said.stdout.split() == ["False", "False"]
