"""Assembling as a user starts it: what is said, and what is in the way."""

import pytest

from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.tiny import make_tiny


@pytest.fixture
def start(started):
    """(arguments) -> (exit status, stdout, stderr) of a start with configs/assemble.py."""
    return lambda *arguments: started(*arguments, config="configs/assemble.py")


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """Parts of a policy may come from policies."""
    directory = tmp_path_factory.mktemp("policy") / "tiny"
    make_tiny(directory, ["some words"], seed=0)
    return directory


def test_parts_of_a_policy(start, policy, tmp_path):
    status, out, err = start(f"text={policy}", f"audio={policy}", f"out={tmp_path / 'made'}", "n_window=32")
    assert status == 0 and err == ""
    assert "media tokens: the tokenizer has them" in out and f"assembled {tmp_path / 'made'}" in out
    assert "attention within 0.64 s (n_window 32)" in out and "projection" not in out
    made, before = open_checkpoint(tmp_path / "made"), open_checkpoint(policy)
    assert (made.params["audio"]["proj"]["weight"] == before.params["audio"]["proj"]["weight"]).all()
    assert made.config.audio.n_window == 32 and made.config.vision.out_hidden_size == 128


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "config.text: name a directory of a text model"),
        (("text={policy}",), "config.out: name the policy directory to write"),
        (("text={policy}", "out={out}"), "config.audio: name a directory of Whisper, or config.vision"),
        (("text={policy}", "out={out}", "audio=nowhere"), "config.audio: nowhere: no such directory"),
        (("text={policy}", "out={policy}", "audio={policy}"), "exists already; remove it, or name another directory"),
        (("text={policy}/..", "out={out}", "audio={policy}"), "config.json: cannot be read"),
    ],
)
def test_what_is_in_the_way(start, policy, tmp_path, given, message):
    out = tmp_path / "made"
    status, _, err = start(*(argument.format(policy=policy, out=out) for argument in given))
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert list(tmp_path.iterdir()) == []
