from importlib.metadata import version
from types import SimpleNamespace

import pytest
from jax._src import xla_bridge

from emsa_jax.errors import InputError
from emsa_jax.parallel import jax_internals


def test_the_version_that_is_tested_is_the_one_installed():
    assert version("jax") == jax_internals.TESTED


def test_this_jax_has_both(monkeypatch):
    state = jax_internals.coordination()
    assert state.client is None and state.process_id == 0
    for made in (True, False):
        monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda made=made: made)
        assert jax_internals.backends_exist() is made


@pytest.mark.parametrize("found", [SimpleNamespace(), None])
def test_a_jax_that_has_moved_them_is_named(monkeypatch, found):
    def import_module(name):
        if found is None:
            raise ModuleNotFoundError(name)
        return found

    monkeypatch.setattr(jax_internals.importlib, "import_module", import_module)
    with pytest.raises(InputError, match=r"jax \S+ has no distributed.global_state any more, .* install jax 0"):
        jax_internals.coordination()
