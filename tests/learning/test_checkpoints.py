import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emsa_jax.disk import DiskFull
from emsa_jax.errors import InputError
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.learning.state import create_state
from emsa_jax.manifest import NAME, verify, write_manifest


def make_state(seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    low = jax.random.normal(keys[1], (4,), jnp.bfloat16)
    params = {"lora": {"a": jax.random.normal(keys[0], (3, 4)), "b": low}}
    train = create_state(params, optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)))
    odd = jnp.asarray([-1e38, -0.0, 3e38, 1e-42])
    return {"train": train, "key": jax.random.key_data(keys[2]), "odd": odd}


def bits(tree):
    return [(leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


def files_of(directory):
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names)


def flip(path, bit):
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def broken(place, value):
    """A state with a number that is not finite: in the optimizer's memory, in one matrix alone, or in bfloat16."""
    state = make_state()
    train = state["train"]
    if place == "opt_state":
        spoiled = jax.tree.map(lambda t: t + value if t.dtype == jnp.float32 else t, train.opt_state)
        return state | {"train": train.replace(opt_state=spoiled)}
    lora = train.params["lora"]
    return state | {"train": train.replace(params={"lora": lora | {place: lora[place].at[0].set(value)}})}


@pytest.mark.parametrize("place, value", [("opt_state", np.nan), ("a", np.inf), ("b", np.nan), ("b", -np.inf)])
def test_numbers_that_are_not_finite_are_neither_saved_nor_restored(tmp_path, caplog, monkeypatch, place, value):
    checkpoints, state = Checkpoints(tmp_path), broken(place, value)
    checkpoints.save(1, make_state(1), {})
    with pytest.raises(InputError, match=rf"2 is not written: train.*{place}.* not finite; step 1 is kept"):
        checkpoints.save(2, state, {})
    assert checkpoints.steps() == [1] and os.listdir(tmp_path) == ["1"]
    with monkeypatch.context() as patch:  # as an earlier version may have written it
        patch.setattr("emsa_jax.learning.checkpoints._not_finite", lambda leaves: "")
        checkpoints.save(2, state, {})
    with caplog.at_level(logging.WARNING):
        restored, _, step = Checkpoints(tmp_path).restore_newest(jax.eval_shape(make_state))
    assert step == 1 and bits(restored) == bits(make_state(1)) and "2 is damaged" in caplog.text
    shutil.rmtree(tmp_path / "1")
    with pytest.raises(InputError, match="no checkpoint in .* is sound: step 2 .*not finite"):
        Checkpoints(tmp_path).restore_newest(jax.eval_shape(make_state))


def test_restore_is_bit_exact_and_keeps_the_tree(tmp_path):
    state = make_state()
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} >= {"float32", "bfloat16", "int32", "uint32"}
    Checkpoints(tmp_path).save(7, state, {"epoch": 1, "plan": "abc"})
    abstract = jax.eval_shape(make_state)
    restored, meta, step = Checkpoints(tmp_path).restore_newest(abstract)
    assert (step, meta) == (7, {"epoch": 1, "plan": "abc"})
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert bits(restored) == bits(state)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


def test_nothing_saved_yet(tmp_path):
    assert Checkpoints(tmp_path / "new").restore_newest(make_state()) is None


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 5):
        checkpoints.save(step, {"x": jnp.full(2, step)}, {})
    assert checkpoints.steps() == [3, 4] and sorted(os.listdir(tmp_path)) == ["3", "4"]
    single = Checkpoints(tmp_path, keep=1)
    single.save(5, {"x": jnp.full(2, 5)}, {})
    assert single.steps() == [5]
    with pytest.raises(ValueError, match="already"):
        single.save(5, {"x": jnp.full(2, 5)}, {})


def test_a_damaged_step_is_named_and_the_one_before_taken(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"x": jnp.arange(100.0) + step}, {"step": step})
    victim = max(files_of(tmp_path / "2" / "state"), key=os.path.getsize)
    flip(victim, 8 * os.path.getsize(victim) // 2)
    with caplog.at_level(logging.WARNING):
        state, meta, step = checkpoints.restore_newest({"x": jnp.zeros(100)})
    assert step == 1 and meta == {"step": 1} and state["x"][0] == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(tmp_path / "2") in line and os.path.basename(victim) in line and "\n" not in line
    checkpoints.save(2, {"x": jnp.arange(100.0) + 2}, {"step": 2})  # the damaged one makes way
    assert checkpoints.restore_newest({"x": jnp.zeros(100)})[2] == 2


@pytest.mark.parametrize("damage", ["flip", "manifest", "empty", "extra", "swap"])
def test_never_a_silent_fresh_start(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"x": jnp.arange(100.0) * step}, {})
    shutil.copytree(tmp_path / "2", tmp_path / "copy")
    for step in ("2", "1"):
        folder = tmp_path / step
        if damage == "flip":
            flip(folder / "meta.json", 100)
        elif damage == "manifest":
            os.remove(folder / NAME)
        elif damage == "empty":
            shutil.rmtree(folder / "state")
        elif damage == "extra":
            (folder / "state" / "more").write_text("x")
        elif damage == "swap":
            shutil.rmtree(folder / "state")
            shutil.copytree(tmp_path / ("copy" if step == "1" else "1") / "state", folder / "state")
    with pytest.raises(InputError, match=r"step 2 \(.*step 1 \("):
        checkpoints.restore_newest({"x": jnp.zeros(100)})


@pytest.mark.parametrize(
    "record", [[], {}, {"meta": 5, "arrays": {"x": "float32[3]"}}, {"meta": {}, "arrays": []}, {"meta": {}}]
)
def test_records_that_somebody_made_end_in_one_line(tmp_path, record):
    path = Checkpoints(tmp_path).save(1, {"x": jnp.zeros(3)}, {})
    (path / "meta.json").write_text(json.dumps(record))
    write_manifest(path)
    with pytest.raises(InputError, match=r"1/meta.json is damaged \(.*; remove this step"):
        Checkpoints(tmp_path).restore_newest({"x": jnp.zeros(3)})


@pytest.mark.parametrize("content", [None, b"garbage"])
def test_a_state_that_somebody_made_ends_in_one_line(tmp_path, content):
    path = Checkpoints(tmp_path).save(1, {"x": jnp.zeros(3)}, {})
    for file in filter(os.path.isfile, (path / "state").rglob("*")):
        os.remove(file) if content is None else file.write_bytes(content)
    write_manifest(path)
    with pytest.raises(InputError, match=r"/1 cannot be restored \(.*\); remove this step") as caught:
        Checkpoints(tmp_path).restore_newest({"x": jnp.zeros(3)})
    assert "\n" not in str(caught.value)


def test_another_model_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.zeros((2, 3))}, {})
    for other, text in [
        ({"x": jnp.zeros((3, 2))}, r"x is float32\[2,3\] there and float32\[3,2\] here"),
        ({"x": jnp.zeros((2, 3)), "y": jnp.zeros(1)}, "y is absent there"),
        ({"x": jnp.zeros((2, 3), jnp.bfloat16)}, "bfloat16"),
    ]:
        with pytest.raises(InputError, match=text):
            checkpoints.restore_newest(other)


def test_every_flipped_bit_is_detected(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    state = make_state()
    checkpoints.save(1, state, {"note": "x"})
    paths, chance = files_of(tmp_path), random.Random(0)
    sizes = [os.path.getsize(path) for path in paths]
    for _ in range(200):
        path = chance.choices(paths, [size + 200 for size in sizes])[0]
        if not (size := os.path.getsize(path)):
            continue
        bit = chance.randrange(8 * size)
        flip(path, bit)
        with pytest.raises(InputError, match="step 1"):
            checkpoints.restore_newest(state)
        flip(path, bit)
    assert bits(checkpoints.restore_newest(state)[0]) == bits(state)


SAVER = """
    import sys, jax.numpy as jnp
    from emsa_jax.learning.checkpoints import Checkpoints
    checkpoints = Checkpoints(sys.argv[1], keep=2)
    found = checkpoints.restore_newest({"x": jnp.zeros(1000), "y": jnp.zeros(3, jnp.int32)})
    step = found[2] if found else 0
    while True:
        step += 1
        state = {"x": jnp.full(1000, float(step)), "y": jnp.full(3, step, jnp.int32)}
        print("saving", flush=True)
        checkpoints.save(step, state, {"step": step})
"""


def test_killed_at_any_moment(tmp_path):
    chance, newest = random.Random(3), 0
    abstract = {"x": jnp.zeros(1000), "y": jnp.zeros(3, jnp.int32)}
    command = [sys.executable, "-c", textwrap.dedent(SAVER), str(tmp_path)]
    for _ in range(5):
        saver = subprocess.Popen(command, stdout=subprocess.PIPE)
        for _ in range(chance.randint(1, 4)):
            assert saver.stdout.readline() == b"saving\n"
        time.sleep(chance.uniform(0, 0.2))
        saver.send_signal(signal.SIGKILL)
        saver.wait()
        found = Checkpoints(tmp_path).restore_newest(abstract)
        if found is None and newest == 0:
            continue  # killed before the first step was whole
        state, meta, step = found
        assert step >= newest and meta == {"step": step}
        assert np.all(state["x"] == step) and np.all(state["y"] == step)
        assert not [name for name in os.listdir(tmp_path) if not name.isdecimal()]
        newest = step
    assert newest > 3


CRASHER = """
    import os, shutil, signal, sys
    import jax.numpy as jnp
    from emsa_jax.learning.checkpoints import Checkpoints

    EVENTS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copytree", "shutil.move"}
    template, root = sys.argv[1:]

    def save_and_die(directory, moment):
        seen = 0
        def hook(event, _):
            nonlocal seen
            if event in EVENTS:
                seen += 1
                if seen == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
        checkpoints = Checkpoints(directory, keep=1)
        state = {"x": jnp.full(5, 2)}
        sys.addaudithook(hook)
        checkpoints.save(2, state, {"step": 2})
        os._exit(0)

    for moment in range(1, 100):
        directory = os.path.join(root, str(moment))
        shutil.copytree(template, directory)
        child = os.fork()  # before any JAX backend: importing once makes this quick
        if child == 0:
            save_and_die(directory, moment)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
"""


def test_killed_before_every_change_to_the_disk(tmp_path):
    """SIGKILL before the 1st, 2nd ... directory, rename or deletion that Python makes in one save."""
    template, root = tmp_path / "template", tmp_path / "crashes"
    Checkpoints(template).save(1, {"x": jnp.full(5, 1)}, {"step": 1})
    root.mkdir()
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(CRASHER), template, root], check=True)
    moments = sorted(root.iterdir(), key=lambda path: int(path.name))
    assert 8 < len(moments) < 99
    found = []
    for directory in moments:
        checkpoints = Checkpoints(directory, keep=1)
        assert all(verify(directory / name) == [] for name in os.listdir(directory))  # no step by halves
        state, meta, step = checkpoints.restore_newest({"x": jnp.zeros(5, jnp.int32)})
        assert np.all(state["x"] == step) and meta == {"step": step}
        assert all(name.isdecimal() for name in os.listdir(directory))
        found.append(step)
    assert found == sorted(found) and found[0] == 1 and found[-1] == 2 and os.listdir(moments[-1]) == ["2"]
    checkpoints = Checkpoints(moments[found.index(2) - 1])
    checkpoints.save(2, {"x": jnp.full(5, 2)}, {})  # what was cut short can be done again
    print(len(moments), "crash points")


def test_leftovers_of_every_crash_point_are_harmless(tmp_path):
    """As if killed between Orbax and the manifest, before the rename, and in the midst of a deletion."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        checkpoints.save(step, {"x": jnp.full(5, step)}, {})
    shutil.copytree(tmp_path / "2", tmp_path / ".unfinished-3-saving")
    os.remove(tmp_path / ".unfinished-3-saving" / NAME)
    shutil.copytree(tmp_path / "1", tmp_path / ".unfinished-1-old")
    shutil.rmtree(tmp_path / ".unfinished-1-old" / "state")
    again = Checkpoints(tmp_path)
    assert again.restore_newest({"x": jnp.zeros(5, jnp.int32)})[2] == 2
    again.save(3, {"x": jnp.full(5, 3)}, {})
    assert sorted(os.listdir(tmp_path)) == ["2", "3"]


def test_saving_is_quick(tmp_path):
    state = {f"layer{i}": jax.random.normal(jax.random.key(i), (130, 256)) for i in range(40)}
    checkpoints, times = Checkpoints(tmp_path), []
    for step in range(4):
        start = time.perf_counter()
        checkpoints.save(step, state, {})
        times.append(time.perf_counter() - start)
    print("seconds to save 5.3 MB:", [round(seconds, 3) for seconds in times])
    assert min(times) < 1  # 0.1 on an idle machine; this one may be busy


def test_meta_must_be_json(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(TypeError):
        checkpoints.save(1, {"x": jnp.zeros(2)}, {"bad": object()})
    assert os.listdir(tmp_path) == []


def test_a_failed_save_leaves_everything_as_it_was(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {"x": jnp.zeros(2)}, {})

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("emsa_jax.learning.checkpoints.write_manifest", full)
    with pytest.raises(DiskFull, match="2 cannot be written: .* .it takes about 8 bytes.* step 1 is kept"):
        checkpoints.save(2, {"x": jnp.ones(2)}, {})
    assert os.listdir(tmp_path) == ["1"]
    assert checkpoints.restore_newest({"x": jnp.zeros(2)})[2] == 1
