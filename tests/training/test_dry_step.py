import math

from emsa_jax.training.dry_step import dry_step


def test_a_step_moves_something():
    metrics = dry_step()
    assert all(map(math.isfinite, metrics.values())) and metrics["grad_norm"] > 0
