"""What a compiled program costs, and which of several forms of it is planned for."""

import jax.numpy as jnp
import numpy as np

from emsa_jax.planning.compiled_cost import Cost, Planned
from emsa_jax.planning.hlo import Moved


def test_what_is_computed_again_is_chosen_as_in_a_run():
    def roomy(x):
        return jnp.sin(x[:, None] * jnp.arange(50_000.0)).cumsum(1).sum(1)

    forms = {"none": roomy, "dots": roomy, "full": lambda x: x + 1}
    for memory, chosen in ((2**34, "none"), (2**20, "full")):
        programs = Planned(None, memory, ("update",))
        assert programs.add_fitting("update", forms, np.zeros(64, np.float32))[1] == programs.remat == chosen
        assert (programs.costs["update"].added > 2**20) == (chosen == "none")


def test_a_cache_that_is_copied_is_no_cache_in_place():
    def copied(*shape, op="copy", unchanged=False):
        return Cost(in_loops=(Moved(op, (shape,), 2**21, unchanged, "loop", 1),)).in_place(512, 128)

    assert not copied(28, 64, 4, 256, 128) and not copied(64, 4, 512, 128)
    assert copied(64, 4, 7, 128) and copied(64, 4, 512, 128, op="fusion") and copied(64, 4, 512, 128, unchanged=True)
