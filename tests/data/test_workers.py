import os
import subprocess
import sys

import pytest

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.media import Broken
from emsa_jax.data.records import unpack
from emsa_jax.data.sample import Sample
from emsa_jax.data.workers import encode_all

# Stands in for a decoder with a fault: python runs it at the start of every worker.
SABOTAGE = """
import os, signal, time
import emsa_jax.data.encode as encode
whole = encode.encode
def encode_(sample, source, options):
    if sample.text == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if sample.text == "once" and not os.path.exists(sample.id):
        open(sample.id, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if sample.text == "hang":
        time.sleep(60)
    if sample.text == "print":
        os.write(1, b"noise")
    return whole(sample, source, options)
encode.encode = encode_
"""


@pytest.fixture
def sabotage(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{root}")


def test_a_death_costs_one_clip(tmp_path, sabotage):
    texts = ["a", "crash", "b", "once", "c", "hang", "print", "d"]
    samples = [Sample(str(tmp_path / f"id{i}"), text, 0.0, "train") for i, text in enumerate(texts)]
    options = PrepareOptions(workers=2)
    results = list(encode_all([(s, "") for s in samples], options, 1.5))
    assert [s for s, _ in results] == samples
    broken = {s.text: str(r) for s, r in results if isinstance(r, Broken)}
    assert broken == {"crash": "the decoder crashed (SIGSEGV)", "hang": "decoding took longer than 1.5 s"}
    assert [unpack(r).text for _, r in results if not isinstance(r, Broken)] == [
        "a",
        "b",
        "once",
        "c",
        "print",
        "d",
    ]


def test_leaving_early_ends_the_workers():
    results = encode_all([(Sample(str(i), "x", 0.0, "train"), "") for i in range(50)], PrepareOptions(workers=1))
    next(results)
    before = _workers()
    results.close()
    assert before and not set(before) & set(_workers())


def _workers():
    listing = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [line.split()[0] for line in listing.stdout.splitlines() if "emsa_jax.data.workers" in line]


def test_workers_load_neither_jax_nor_torch():
    code = "import sys, emsa_jax.data.workers, emsa_jax.data.encode, emsa_jax.data.mel as m; m._filters(); "
    code += "print([n for n in ('jax', 'torch', 'grain', 'librosa', 'transformers') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
