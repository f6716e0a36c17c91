"""Compiled programs: kept on disk, listed, and never compiled behind one's back."""

import subprocess
import sys
import textwrap
import zlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.learning.optimizer import learning_rate_schedule
from emsa_jax.parallel.mesh import make_mesh
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.runtime import programs
from emsa_jax.runtime.programs import Programs, remat_forms, tabulate, used_bytes

USER = """
    import pathlib, sys, jax, jax.numpy as jnp
    from emsa_jax.runtime.programs import keep_compiled
    keep_compiled(pathlib.Path(sys.argv[1]))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    print(float(jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.ones((8, 8)))))
"""


def use(directory):
    command = [sys.executable, "-c", textwrap.dedent(USER), str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_entries_torn_by_a_kill_are_replaced(tmp_path):
    first = use(tmp_path / "cache")
    entries = sorted((tmp_path / "cache").glob("*-cache"))
    kept = {path.name: path.read_bytes() for path in entries}
    (tmp_path / "cache").rename(tmp_path / "moved")  # keys do not depend on where the directory lies
    entries = [tmp_path / "moved" / path.name for path in entries]
    entries[0].write_bytes(kept[entries[0].name][:100])
    entries[1].write_bytes(b"")
    data = bytearray(kept[entries[-1].name])
    data[len(data) // 2] ^= 1
    entries[-1].write_bytes(data)
    again = use(tmp_path / "moved")
    assert len(entries) >= 3 and (again.stdout, again.stderr) == (first.stdout, "")
    found = sorted((tmp_path / "moved").glob("*-cache"))
    assert [path.name for path in found] == sorted(kept) and all(zlib.decompress(path.read_bytes()) for path in found)


def test_other_shapes_are_refused(capsys):
    compiled = Programs()
    double = compiled.add("double", lambda x: 2 * x, np.zeros(4, np.float32), label="double/4")
    assert double.name == "double" and double.out.shape == (4,) and double.out.dtype == np.float32
    assert np.array_equal(double(jnp.ones(4)), np.full(4, 2))
    with pytest.raises(TypeError):
        double(jnp.ones(5))
    compiled.report()
    assert "compiled 1 programs: double/4 " in capsys.readouterr().out


def test_equal_programs_are_compiled_once():
    """Whoever adds them, under whatever name; other numbers, shapes or donations are other programs."""
    heard = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: heard.append(event) if event.endswith("backend_compile_duration") else None
    )

    def compiled(factor, size, donate=()):
        before = len(heard)
        scale = Programs().add("scale", lambda x: x * factor + 0.125, np.zeros(size, np.float32), donate=donate)
        assert float(scale(jnp.ones(size))[0]) == factor + 0.125
        return len(heard) - before

    jnp.ones(3), jnp.ones(5), float(jnp.ones(3)[0]), float(jnp.ones(5)[0])  # compiled now, not counted below
    assert [compiled(7.0, 3), compiled(7.0, 3), compiled(9.0, 3), compiled(7.0, 5)] == [1, 0, 1, 1]
    assert compiled(7.0, 3, donate=(0,)) == 1 and compiled(9.0, 3) == 0


def test_programs_that_differ_in_what_they_do_not_use_are_two():
    """Their text is the same, but each is called with arguments of its own shapes."""
    for size in (0, 16):
        arguments = np.zeros(3, np.float32), np.zeros(size, np.float32)
        total = Programs().add("sum", lambda x, unused: x.sum() + 0.5, *arguments)
        assert float(total(jnp.ones(3), jnp.ones(size))) == 3.5


def test_first_arguments_can_be_bound():
    """Those that are given at every call, as the parameters of a frozen base; they are not copied again."""
    program = Programs().add("scale", lambda factor, x: factor * x, jnp.float32(0), np.zeros(3, np.float32))
    bound = program.bind(jnp.float32(2))
    assert np.array_equal(bound(np.arange(3, dtype=np.float32)), [0, 2, 4]) and bound.name == "scale"
    with pytest.raises(TypeError, match="3 arrays are given"):
        bound(jnp.float32(2), np.zeros(3, np.float32))


def test_auto_is_no_none_on_cpus():
    """Where it was measured to be slower (docs/speed.md); other devices begin with it."""
    mesh = make_mesh(MeshOptions(), jax.devices()[:1])[0]
    gpu = SimpleNamespace(devices=np.array([SimpleNamespace(platform="gpu")]))
    assert remat_forms("auto", mesh) == ("dots", "full") and remat_forms("auto", gpu) == ("none", "dots", "full")
    assert remat_forms("none", mesh) == ("none",)


def test_the_first_form_that_fits_is_taken(monkeypatch):
    def roomy(x):
        return jnp.sin(x[:, None] * jnp.arange(50_000.0)).cumsum(1).sum(1)

    x = np.zeros(100, np.float32)
    needed = used_bytes(jax.jit(roomy).lower(x).compile())
    assert needed > 100 * 50_000 * 4

    def chosen(room, **forms):
        monkeypatch.setattr(programs, "device_bytes", lambda: room)
        return Programs().add_fitting("sum", forms, x)[1]

    assert chosen(2 * needed, none=roomy, full=jnp.sin) == "none"
    assert chosen(needed, none=roomy, full=jnp.sin) == "full"
    assert chosen(needed, none=roomy, dots=jnp.cos, full=jnp.sin) == "dots"
    assert chosen(1, none=roomy, full=roomy) == "full"  # nothing is left to try

    def exhausted(x):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: ran out of memory")

    def broken(x):
        raise jax.errors.JaxRuntimeError("INTERNAL: no")

    assert chosen(2 * needed, none=exhausted, full=jnp.sin) == "full"
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        chosen(2 * needed, none=broken, full=jnp.sin)


def test_another_schedule_compiles_nothing():
    compiled = []
    for peak, steps in ((1e-3, 17), (2e-3, 17), (2e-3, 400)):
        tabulate(learning_rate_schedule(OptimizerOptions(peak, warmup=3, schedule="cosine"), steps), steps)
        if not compiled:
            jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **_: compiled.append(event))
            compiled.append("begun")
    assert not [event for event in compiled if event.endswith("backend_compile_duration")]


def test_tabulate():
    table = tabulate(lambda step: jnp.minimum(step, 3) / 3, 5)
    np.testing.assert_allclose(table, [0, 1 / 3, 2 / 3, 1, 1], rtol=1e-6)
    assert np.array_equal(tabulate(lambda step: 0.5, 3), [0.5] * 3) and not isinstance(table, jax.Array)
