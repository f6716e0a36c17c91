"""The program itself, as a process of its own."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from emsa_jax import main
from emsa_jax.config.edge import from_config_dict
from emsa_jax.config.fields import leaves
from emsa_jax.settings.config import Config
from emsa_jax.settings.help import EXPERIMENTAL
from emsa_jax.settings.job_options import JOBS
from emsa_jax.settings.presets import PRESETS

ROOT = Path(__file__).parents[1]


def start(*arguments):
    return subprocess.run([sys.executable, "-m", "emsa_jax.main", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "content, told",
    [
        ("raise SystemExit(3)", "cannot be read (it ends the program)"),
        ("def get_config(preset=''):\n    exit()", "cannot be read (it ends the program)"),
        ("get_config = 5", "the config file cannot be read (TypeError: 'int' object is not callable)"),
        ("def get_config(preset=''):\n    return ConfigDict({'job': ['plan']})", "config.job: ['plan'] is none of"),
        ("def get_config(preset=''):\n    return ConfigDict({'seed': open_field(int)})", "config.seed has no value"),
    ],
)
def test_configs_that_are_none_end_in_one_line(tmp_path, forget_flags, capsys, monkeypatch, content, told):
    head = "from ml_collections import ConfigDict\n"
    head += "from ml_collections.config_dict import required_placeholder as open_field\n"
    (tmp_path / "c.py").write_text(head + content)
    error = ends(["emsa_jax.main", f"--config={tmp_path / 'c.py'}"], forget_flags, monkeypatch, capsys)
    assert told in error and error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    "workdir, told", [("", "--workdir is empty"), ("~nobody-here/x", "this machine knows no such user")]
)
def test_workdirs_that_are_none_end_in_one_line(forget_flags, capsys, monkeypatch, workdir, told):
    argv = ["emsa_jax.main", "--config=configs/grpo.py", f"--workdir={workdir}"]
    error = ends(argv, forget_flags, monkeypatch, capsys)
    assert told in error and error.startswith("error: ") and error.count("\n") == 1


def ends(argv, forget_flags, monkeypatch, capsys):
    """What a start in this process says that ends with exit code 2."""
    monkeypatch.setattr(sys, "argv", argv)
    forget_flags()
    with pytest.raises(SystemExit) as ended:
        main._run(argv)
    forget_flags()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "error, said",
    [
        (RuntimeError("Event loop is closed"), ""),  # as tensorstore's threads say it, five lines for each write
        (ValueError("what\never"), "warning: a helper thread has failed; the run goes on without it (ValueError: what"),
    ],
)
def test_what_nobody_can_catch_is_one_line_at_most(capsys, error, said):
    main._say_what_nobody_can_catch(SimpleNamespace(exc_type=type(error), exc_value=error))
    err = capsys.readouterr().err
    assert err.startswith(said) and err.count("\n") == bool(said)


def test_without_a_config():
    done = start()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: say what to do: --config=configs/grpo.py, or another file of configs/\n"


def test_an_unknown_field(tmp_path):
    done = start("--config=configs/grpo.py", f"--workdir={tmp_path / 'run'}", "--config.grpo.group_sice=4")
    assert (done.returncode, done.stdout) == (2, "") and not (tmp_path / "run").exists()
    assert done.stderr == "error: config.grpo.group_sice is not a known field; did you mean config.grpo.group_size?\n"


def test_help_names_the_flags():
    done = start("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(flag in done.stdout for flag in ("--workdir=DIR", "--config=FILE", "--config.FIELD=VALUE"))


def test_help_of_a_job_is_a_line_for_each_of_its_fields():
    done = start("--config=configs/grpo.py:msa_thinker", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("--config.")]
    assert len(lines) == sum(1 for _ in leaves(Config()))
    assert all(re.fullmatch(r"--config\.[a-z_.0-9]+=.*?  \S.*?  \S.*", line) for line in lines)
    assert any(line.startswith("--config.loss.beta=0.1  float  weight of the KL") for line in lines)
    usual, beyond = done.stdout.split(f"\n{EXPERIMENTAL}\n")
    assert "--config.hint.mode=" in usual and "--config.hint.loss_on_hint=" in beyond


def test_help_of_a_group():
    done = start("--config=configs/grpo.py", "--help=lora")
    assert done.returncode == 0 and [line.partition("=")[0] for line in done.stdout.splitlines()] == [
        "--config.lora.rank",
        "--config.lora.alpha",
        "--config.lora.targets",
        "--config.lora.also",
    ]
    done = start("--config=configs/grpo.py", "--help=loar")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: --help=loar: no such group of fields; there are read, mix, cross")


def test_the_printed_config_names_where_each_value_comes_from(tmp_path):
    done = start(
        "--config=configs/grpo.py:msa_thinker",
        "--print_config",
        "--config.hint.replace=2",
        f"--workdir={tmp_path / 'run'}",
    )
    assert (done.returncode, done.stderr) == (0, "") and not (tmp_path / "run").exists()
    lines = done.stdout.splitlines()
    assert "--config.hint.replace=2  command line" in lines
    assert "--config.loss.kind=seq_sum  preset msa_thinker" in lines
    assert "--config.lora.rank=64  default" in lines
    lines = start("--config=configs/sft.py", "--print_config").stdout.splitlines()
    assert "--config.stages=('prepare','sft','evaluate','report')  configs/sft.py" in lines


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.view.drop_text=0.3", "config.view.drop_text is no field any more; set config.modality_dropout.text"),
        ("--config.adv.ddof=0", "config.adv.ddof is no field any more: it is 1, as in TRL, ms-swift and Hint-GRPO"),
    ],
)
def test_a_field_of_before_names_the_one_of_today(argument, message):
    done = start("--config=configs/grpo.py", argument)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def config_of(name, preset=""):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


@pytest.mark.parametrize("name", sorted({path.stem for path in (ROOT / "configs").glob("*.py")} - set(JOBS)))
def test_every_config_is_sound(name):
    """Each file of configs/ that makes a run, and each preset of it, makes a config that passes every check."""
    for preset in PRESETS:
        config = from_config_dict(Config, config_of(name, preset))
        assert config.stages and (config.loss.kind == "seq_sum") == preset.endswith("thinker")


@pytest.mark.parametrize("name", JOBS)
def test_every_job_that_needs_no_run_is_found(name):
    module = importlib.import_module(f"emsa_jax.jobs.{name}")
    options = from_config_dict(JOBS[name], config_of(name, "bench" if name == "ablation" else ""))
    assert options.job == name and callable(getattr(module, name))


def test_an_unknown_job():
    done = start("--config=configs/inspect.py", "--config.job=inspekt")
    assert (done.returncode, done.stderr) == (2, f"error: config.job: 'inspekt' is none of {', '.join(JOBS)}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--config=configs/grpo.py", "--config.job=inspect"),
            "config.job: a file says what is done; give --config=configs/inspect.py if that is meant",
        ),
        (
            ("--config=configs/compare.py", "--config.runs=runs/a"),
            r"config.runs: name at least two workdirs, such as \"\('runs/off','runs/hint'\)\", not runs/a alone",
        ),
        (
            ("--config=configs/grpo.py", "--config.lora=3"),
            "config.lora is a group of fields, not '3'; set one of them, as --config.lora.NAME=VALUE",
        ),
        (
            ("--config=configs/grpo.py", "--config.modality_dropout.text=2"),
            "config.modality_dropout.text must be at least 0 and at most 1, not 2.0: how often .*",
        ),
        (("--config=configs/grpo.py:nope",), "there is no preset 'nope'; choose one of .*"),
    ],
)
def test_what_cannot_be_is_one_plain_line(monkeypatch, capfd, forget_flags, arguments, message):
    monkeypatch.setattr(sys, "argv", ["emsa_jax.main", *arguments])
    forget_flags()
    with pytest.raises(SystemExit) as exit:
        main._run(sys.argv)
    forget_flags()
    out, error = capfd.readouterr()
    assert (exit.value.code, out) == (2, "") and re.fullmatch(f"error: {message}\n", error), error


def test_a_file_that_is_no_config():
    for file, reason in {"README.md": r".*\(README.md, line \d+\)", "/dev/null": ".*get_config.*"}.items():
        done = start(f"--config={file}")  # a process each, as the reader of such files keeps what the last one had
        said = (
            f"error: --config={file} cannot be read \\({reason}\\); give a file of configs/, such as configs/grpo.py\n"
        )
        assert (done.returncode, done.stdout) == (2, "") and re.fullmatch(said, done.stderr), done.stderr
