import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def emsa(*words, cwd=ROOT):
    command = [sys.executable, "-m", "emsa_jax.command_line.program", *words]
    return subprocess.run(command, cwd=cwd, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_help_of_all(words):
    done = emsa(*words)
    assert done.returncode == 0 and done.stderr == "" and "  train  " in done.stdout


@pytest.mark.parametrize("words", [["train", "--help"], ["help", "train"], ["train", "--help", "--preset", "smol"]])
def test_help_of_a_command(words):
    done = emsa(*words)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("usage: emsa train [DATA]")
    assert f"[{'label_only' if 'smol' in words else 'dc'}]" in done.stdout and "\n  hint  " in done.stdout


def test_help_of_a_group():
    assert emsa("train", "--help", "hint").stdout.startswith("hint.mode=hint  'hint'|")


def test_help_loads_nothing_that_is_slow():
    """Help in under a second, on a machine that is busy with other tests: by what is loaded, and by the processor's
    time."""
    code = """
        import sys, time
        from emsa_jax.command_line.program import arguments_for
        slow = {"jax", "flax", "transformers", "absl", "scipy", "sklearn", "av"}
        arguments_for(["--help"])
        assert not {*slow, "numpy", "emsa_jax.settings.config"} & sys.modules.keys()
        arguments_for(["train", "--help"])
        arguments_for(["train", "hint.mode=off"])
        assert not slow - {"absl"} & sys.modules.keys()
        print(time.process_time())
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 1.0


@pytest.mark.parametrize(
    "words, message",
    [
        (["trian"], "error: there is no command 'trian'; did you mean train?\n"),
        (["train", "hint.mod=off"], "error: emsa train has no field hint.mod; did you mean hint.mode"),
        (["describe", "hint.treshold"], "error: there is no field or group hint.treshold; did you mean hint.threshold"),
        (["describe"], "error: emsa describe takes one word: name a field or a group"),
        (["completion"], "error: emsa completion takes one word: bash or zsh\n"),
        (["help", "trian"], "error: there is no command 'trian'; did you mean train?\n"),
    ],
)
def test_what_cannot_be_is_one_line(words, message):
    done = emsa(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(message)


def test_a_command_does_what_its_config_does(tmp_path):
    """From another directory, through `emsa_jax.main`: its values, and its errors."""
    done = emsa("train", "--print-config", "hint.mode=off", "--preset=msa_thinker", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "" and "--config.hint.mode=off  command line\n" in done.stdout
    assert "--config.loss.kind=seq_sum  preset msa_thinker\n" in done.stdout
    done = emsa("inspect", "nothing", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "nothing" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_version():
    begun = time.monotonic()
    assert emsa("--version").stdout == "emsa_jax 0.1.0\n" and time.monotonic() - begun < 60
