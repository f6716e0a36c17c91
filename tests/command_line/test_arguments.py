import shlex

import pytest
from ml_collections import config_flags

from emsa_jax.command_line.arguments import main_arguments
from emsa_jax.command_line.commands import COMMANDS
from emsa_jax.errors import InputError
from emsa_jax.shipped import shipped


def translated(name, *words):
    config, *rest = main_arguments(name, COMMANDS[name], words)
    file, _, preset = config.removeprefix("--config=").partition(":")
    assert file == str(shipped(f"configs/{COMMANDS[name].config}.py"))
    return [f":{preset}", *rest] if preset else rest


@pytest.mark.parametrize(
    "words, arguments",
    [
        (["train", "--workdir", "runs/x", "hint.mode=off"], ["--workdir=runs/x", "--config.hint.mode=off"]),
        (["train", "hint.mode=off", "--workdir=runs/x"], ["--workdir=runs/x", "--config.hint.mode=off"]),
        (["train", "--hint.mode", "off", "--seed=3"], ["--config.seed=3", "--config.hint.mode=off"]),
        (["evaluate", "--policy", "DIR", "--data", "D2"], ["--config.data=D2", "--config.policy=DIR"]),
        (["train", "--config.hint.mode=off", "config.seed=1"], ["--config.hint.mode=off", "--config.seed=1"]),
        (["train", "--score-range=-3,3"], ["--config.score_range=(-3,3)"]),
        (["train", "score_range=(-3.0,3.0)"], ["--config.score_range=(-3.0,3.0)"]),
        (["train", "--strict", "--preset", "smol"], [":smol", "--config.strict=True"]),
        (["train", "stages=sft"], ["--config.stages=('sft',)"]),
        (["train", "stages=prepare, sft"], ["--config.stages=('prepare','sft')"]),
        (["train", "modality_dropout.text=0.3"], ["--config.modality_dropout.text=0.3"]),
        (["train", "--modality-dropout.text", "0.3"], ["--config.modality_dropout.text=0.3"]),
        (["train", "--reward.plugins=a.py:f,a.py:g"], ["--config.reward.plugins=('a.py:f','a.py:g')"]),
        (["train", "data=a=b.csv"], ["--config.data=a=b.csv"]),
        (["compare", "runs/a", "runs/b", "--out=c.html"], ["--config.out=c.html", "--config.runs=('runs/a','runs/b')"]),
        (["benchmark", "ours=runs/a", "out=t"], ["--config.out=t", "--config.runs=('ours=runs/a',)"]),
        (["inspect", "data/my clips"], ["--config.data=data/my clips"]),
        (["plan", "--print-config"], ["--print_config"]),
        (["ablation", "hint@smol", "seeds=1"], [":hint@smol", "--config.seeds=1"]),
        (["features", "--preset", "sound"], ["--config.preset=sound"]),
    ],
)
def test_what_a_command_line_stands_for(words, arguments):
    assert translated(*words) == arguments


@pytest.mark.parametrize(
    "words, message",
    [
        (["train", "hint.mod=off"], "emsa train has no field hint.mod; did you mean hint.mode"),
        (["train", "--hint.mod", "off"], "emsa train has no field hint.mod; did you mean hint.mode"),
        (["train", "--wrkdir", "x"], "emsa train has no field wrkdir; did you mean workdir"),
        (["inspect", "--hint.mode=off"], "emsa inspect has no field hint.mode; emsa prepare, train, .* have it"),
        (["inspect", "hint.mode=off"], "emsa inspect has no field hint.mode; emsa prepare, train, .* have it"),
        (["train", "clips=1.csv"], "emsa train has no field clips; emsa inspect, annotate have it"),
        (["train", "view.keep=a"], "config.view.keep is no field any more; set config.prompt.modalities"),
        (["train", "--view.keep", "a"], "config.view.keep is no field any more; set config.prompt.modalities"),
        (["inspect", "--job", "plan"], "emsa inspect has no field job"),
        (["train", "lora=3"], "lora is a group of fields of emsa train; set one of them, as lora.rank=VALUE"),
        (["train", "--seed"], "emsa train: --seed has no value; write --seed=VALUE"),
        (["compare", "a", "b", "--workdir=x"], "emsa compare keeps no directory"),
        (["inspect", "a", "b"], "emsa inspect takes one word without a name, data; what is 'b'?"),
        (["export", "runs/x"], "emsa export takes fields alone; what is 'runs/x'?"),
    ],
)
def test_what_cannot_be(words, message):
    with pytest.raises(InputError, match=message) as error:
        translated(*words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_is_taken_by_the_flags_of_main(name, forget_flags, monkeypatch):
    """The help's examples, through the parser of `emsa_jax.main` and the checks of every field."""
    from absl import flags

    from emsa_jax import main

    _, command, *words = shlex.split(COMMANDS[name].example)
    assert command == name
    arguments = ["emsa", *main_arguments(name, COMMANDS[name], words)]
    monkeypatch.setattr("sys.argv", arguments)
    forget_flags()
    main._parse(arguments)
    options = main.options_of(flags.FLAGS["config"].value)
    given = config_flags.get_override_values(flags.FLAGS["config"])
    forget_flags()
    assert len(given) == sum(argument.startswith("--config.") for argument in arguments)
    taken = COMMANDS[name].takes
    assert not taken or getattr(options, taken) or taken not in given
