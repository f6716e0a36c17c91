from pathlib import Path

import pytest

from emsa_jax.parallel import processes
from emsa_jax.policy.tiny import make_tiny

TEXTS = ["what a wonderful day", "never again"]


def test_equal_arguments_give_equal_bytes(tmp_path):
    def files(name: str, seed: int) -> dict[str, bytes]:
        make_tiny(tmp_path / name, TEXTS, seed, vocab_size=384)
        return {path.name: path.read_bytes() for path in Path(tmp_path / name).iterdir()}

    first, again, other = files("a", 0), files("b", 0), files("c", 1)
    assert first == again
    assert {name for name in first if first[name] != other[name]} == {"model.safetensors", "MANIFEST.json"}


def test_one_process_makes_it_while_the_others_wait_for_what_it_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "broadcast", lambda *_: pytest.fail("the others are at another exchange"))
    make_tiny(tmp_path / "policy", TEXTS, 0, vocab_size=384)
