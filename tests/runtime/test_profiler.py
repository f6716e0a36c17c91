from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from emsa_jax.runtime.profiler import profiled


@pytest.mark.parametrize("steps, broken", [(2, False), (5, False), (2, True)])
def test_steps_after_the_first_are_traced(tmp_path, capsys, steps, broken):
    run = SimpleNamespace(path=tmp_path.joinpath)
    traced = []
    try:
        with profiled(run, steps, 3) as step_begins:
            for step in range(3, 8):
                step_begins(step)
                traced.append(step)
                jax.jit(lambda x: x @ x)(jnp.ones((8, 8))).block_until_ready()
                if broken and step == 5:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert list(tmp_path.glob("profile/**/*.xplane.pb"))
    assert capsys.readouterr().out.count("profile:") == 1  # another start would fail if it had not been stopped


def test_nothing_is_traced_unless_asked_for(tmp_path):
    with profiled(SimpleNamespace(path=tmp_path.joinpath), 0, 0) as step_begins:
        for step in range(3):
            step_begins(step)
    assert not list(tmp_path.iterdir())
