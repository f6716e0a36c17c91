"""Bad input through the command line: one line that names what is wrong, exit status 2, nothing half-written."""

import csv
import json
import re
import shutil
import sys
from types import SimpleNamespace

import pytest
from absl import flags
from safetensors.numpy import load_file, save_file

from emsa_jax import main
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.policy.tiny import make_tiny

ROWS = [
    ["id", "text", "label", "mode", "video", "audio"],
    *[
        [f"c{i}", f"words {i}", f"{(i % 3 - 1) / 2}", mode, "", ""]
        for i, mode in enumerate(("train", "train", "train", "valid", "test"))
    ],
]
TRACE = {"id": "c0", "polarity": "Negative", "think": "The words are gloomy.", "score": -0.5}


@pytest.fixture
def world(tmp_path):
    """A sound table of labels with traces beside it, and a policy; the tests spoil one of them."""
    data = tmp_path / "data"
    data.mkdir()
    table(data / "label.csv", ROWS)
    (data / "traces.jsonl").write_text(json.dumps(TRACE) + "\n")
    make_tiny(tmp_path / "policy", ["words", "gloomy"], 0, vocab_size=320)
    return tmp_path


@pytest.fixture
def refused(world, monkeypatch, capfd, forget_flags):
    """(arguments) -> the one line on stderr of a start with them, which has left no trace."""

    def start(*arguments, config="configs/grpo.py", workdir="run", left=()):
        standard = (
            ()
            if config is None
            else (
                f"--config={config}",
                f"--config.data={world / 'data/label.csv'}",
                f"--config.policy={world / 'policy'}",
                "--config.prepare.workers=1",
                "--config.cross.data=",
            )
        )
        names = {argument.split("=")[0] for argument in arguments}
        chosen = [argument for argument in standard if argument.split("=")[0] not in names]
        argv = ["emsa_jax.main", *chosen, f"--workdir={world / workdir}", *arguments]
        monkeypatch.setattr(sys, "argv", argv)  # where config overrides are looked for
        forget_flags()
        before = snapshot(world)
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            main._run(argv)
        forget_flags()
        assert exit.value.code == 2
        out, error = capfd.readouterr()
        progress, error = re.fullmatch(r"((?:prepare [^\n]*\n)*)(.*)", error, re.DOTALL).groups()
        assert re.fullmatch(r"error: [^\n]+\n", error) and "Traceback" not in error, progress + error
        assert {name: data for name, data in snapshot(world).items() if not name.startswith(left)} == before
        return error

    return start

    flags.FLAGS["workdir"].unparse()


def snapshot(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


# ---- the command line ----

LINES = {
    "unknown field": (["--config.grpo.max_stepz=3"], r"config\.grpo\.max_stepz is not a known .*mean .*max_steps"),
    "unknown group": (["--config.grpoo.max_steps=3"], "config has no field 'grpoo'.*mean .grpo"),
    "unknown flag": (["--workdri=x"], "'workdri'"),
    "stray argument": (["now"], "'now'"),
    "a word for a number": (["--config.seed=many"], r"config\.seed must be a whole number, not 'many'"),
    "a fraction for a number": (
        ["--config.sft.batch_size=1.5"],
        r"config\.sft\.batch_size must be a whole number, not '1\.5'",
    ),
    "a word for a switch": (["--config.prompt.audio_in_video=perhaps"], r"config\.prompt\.audio_in_video=perhaps"),
    "not a choice": (["--config.loss.kind=ppo"], r"config\.loss\.kind must be 'grpo', .*'ppo'"),
    "not a number": (["--config.loss.beta=nan"], r"config\.loss\.beta must be a finite number"),
    "one value for two": (["--config.score_range=3"], r"score_range must be two numbers that rise"),
    "a value for a group": (["--config.sft=3"], r"config\.sft is a group of fields, not '3'"),
    "unknown stage": (["--config.stages=train"], r"stages: 'train' is none of prepare, align, sft"),
    "nothing in a batch": (["--config.sft.batch_size=0"], "sft.*batch_size must be at least 1"),
    "negative epochs": (["--config.grpo.epochs=-1"], "grpo.*epochs must be at least 0"),
    "hints that cannot work": (["--config.hint.replace=8"], r"hint\.replace must be"),
    "a hint that pulls away": (["--config.hint.loss_on_hint=True"], r"hint\.loss_on_hint .* is refused"),
    "everything neutral": (["--config.labels.neutral_eps=5"], r"labels\.neutral_eps: with 5, every score of .* is Neu"),
    "no such concept": (["--config.reward.concept_weights.toen=2.0"], r"concept_weights\.toen: no such concept.*tone"),
    "no table there": (["--config.concepts.table=/no/such/table.json"], "concepts.table: /no/such/table.json"),
    "unknown domain": (["--config.data=puppets:fr"], "'puppets:fr' is no puppet domain; there are puppets:en"),
    "no data there": (["--config.data=/no/such/place"], "/no/such/place does not exist"),
    "no policy there": (["--config.policy=/no/such/policy"], "/no/such/policy: no such directory"),
    "no adapter there": (["--config.adapter=/no/such/adapter"], r"/no/such/adapter/adapter_config\.json: is missing"),
    "no traces there": (["--config.traces=/no/such/traces.jsonl"], r"/no/such/traces\.jsonl: cannot read traces"),
    "no second data there": (["--config.cross.data=/no/such/other"], "/no/such/other does not exist"),
}


@pytest.mark.parametrize("name", LINES)
def test_command_line(refused, name):
    arguments, message = LINES[name]
    assert re.search(message, refused(*arguments))


def test_config_files(refused, world):
    assert "--config=configs/grpo.py" in refused(config=None)
    assert "--config=configs/nothing.py" in refused("--config=configs/nothing.py", config=None)
    assert "there is no preset 'papers'; choose one of msa_thinker" in refused(
        "--config=configs/grpo.py:papers", config=None
    )
    (world / "broken.py").write_text("def get_config():\n    return undefined_name\n")
    assert "undefined_name" in refused(f"--config={world / 'broken.py'}", config=None)
    (world / "broken.py").write_text("def get_config(:\n")
    assert "broken.py" in refused(f"--config={world / 'broken.py'}", config=None)


def test_papers_presets_ask_for_policy_and_data(refused, world):
    paper = "--config=configs/grpo.py:msa_thinker"
    assert "config.data" in refused(paper, config=None)
    assert "config.policy" in refused(paper, f"--config.data={world / 'data/label.csv'}", config=None)


# ---- the data ----


def change(rows, row, column, value):
    rows = [list(cells) for cells in rows]
    rows[row][ROWS[0].index(column)] = value
    return rows


TABLES = {
    "a column is missing": ([[cell for i, cell in enumerate(row) if i != 2] for row in ROWS], "lacks the column label"),
    "a score out of range": (change(ROWS, 2, "label", "1.5"), r"line 3: label 1\.5 lies outside .*\[-1, 1\]"),
    "a score that is none": (change(ROWS, 2, "label", "good"), r"line 3: label 'good' is not a number"),
    "a score that is not finite": (change(ROWS, 2, "label", "nan"), "line 3: label 'nan' is not a number"),
    "no score to train on": (change(ROWS, 1, "label", ""), "line 2: label is empty"),
    "an id twice": (change(ROWS, 3, "id", "c0"), r"line 4: id 'c0' was already given at .*line 2"),
    "an unknown split": (change(ROWS, 1, "mode", "held_out"), "line 2: mode 'held_out' is none of train, valid, test"),
    "a cell too many": ([*ROWS[:2], [*ROWS[2], "x"], *ROWS[3:]], "line 3 has 7 cells"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_labels(refused, world, name):
    rows, message = TABLES[name]
    table(world / "data" / "label.csv", rows)
    error = refused()
    assert str(world / "data" / "label.csv") in error and re.search(message, error)


def test_a_step_that_cannot_be_cut_is_told_before_anything_is_learned(refused, world, monkeypatch):
    four = SimpleNamespace(of=lambda *_, **__: SimpleNamespace(sharding=BatchSharding(num_shards=4)))  # devices
    monkeypatch.setattr("emsa_jax.jobs.stages.Placement", four)
    error = refused("--config.grpo.prompts_per_step=6", "--config.grpo.micro_batches=1", left="run/")
    assert "grpo.prompts_per_step 6 must be a multiple of" in error
    assert not (world / "run" / "sft").exists()


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("gaze=away", "no clip has a label of expression, speaking_style, tone; name a table"),
        ("tone=grim", "clip 'c0': tone 'grim' is none of casual"),
    ],
)
def test_concepts_that_the_table_does_not_have(refused, world, cell, message):
    table(world / "data" / "label.csv", [[*ROWS[0], "concepts"], *([*row, cell] for row in ROWS[1:])])
    assert message in refused("--config.format=concepts", "--config.hint.mode=off")


def test_all_clips_are_missing(refused, world):
    table(world / "data" / "label.csv", [ROWS[0], *([*row[:4], f"{row[0]}.mp4", ""] for row in ROWS[1:])])
    message = (
        "5 of the 5 clips with video or sound are missing or broken, more than a share of 0.5 (max_bad_share); "
        "the first, c0"
    )
    assert message in refused(left="run/")
    assert not (world / "run" / "records" / "train").exists()


TRACES = {
    "not json": ("{", r"traces\.jsonl, line 1: not a JSON object"),
    "not utf-8": (b"\xff\xfe", r"traces\.jsonl: cannot read traces"),
    "a field is missing": (json.dumps({"id": "c0"}), r"traces\.jsonl, line 1: field 'polarity' must be a string"),
    "an id twice": ("\n".join([json.dumps(TRACE)] * 2), "line 2: id 'c0' stands already on line 1"),
}


@pytest.mark.parametrize("name", TRACES)
def test_traces(refused, world, name):
    content, message = TRACES[name]
    (world / "data" / "traces.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert re.search(message, refused())


def test_no_trace_passes_the_filter(refused, world):
    (world / "data" / "traces.jsonl").write_text(json.dumps(TRACE | {"polarity": "Positive"}) + "\n")
    assert "traces.jsonl: no trace passed the filter" in refused(
        "--config.stages=('sft',)",
        "--config.data=" + str(prepared(world)),
        f"--config.traces={world / 'data/traces.jsonl'}",
        left="run/",
    )


def prepared(world):
    from emsa_jax.data.data_options import PrepareOptions
    from emsa_jax.data.prepare import prepare

    prepare(world / "data" / "label.csv", world / "records", PrepareOptions(workers=1), (-1.0, 1.0), "en")
    return world / "records"


def test_a_prompt_of_the_last_stage_is_too_long(refused, world):
    """Said before the cold start, not after hours of training."""
    table(world / "data" / "label.csv", [*ROWS[:-1], ["c4", "words " * 900, "0.5", "test", "", ""]])
    data = (f"--config.data={prepared(world)}", f"--config.traces={world / 'data/traces.jsonl'}")
    error = refused(*data, "--config.prompt.buckets=(700,)", left="run/")
    assert re.search(r"prompt.buckets: the longest prompt has \d+ tokens, but the largest bucket is 700", error)
    assert not (world / "run" / "sft").exists()


# ---- checkpoints ----


def tensors(world, edit):
    """Changes the policy's tensors; without its hashes, as a directory that came from elsewhere."""
    path = world / "policy" / "model.safetensors"
    found = load_file(path)
    edit(found)
    save_file(found, path, metadata={"format": "pt"})
    (world / "policy" / "MANIFEST.json").unlink()


NORM = "model.layers.1.input_layernorm.weight"
POLICIES = {
    "a missing tensor": (lambda t: t.pop(NORM), f"1 tensors are missing and 0 are unknown, first '{NORM}'"),
    "a missing head": (lambda t: t.pop("lm_head.weight"), "lm_head.weight is missing"),
    "a tensor too many": (lambda t: t.update({"model.layers.9.x": t[NORM]}), "1 are unknown, first 'model.layers.9.x'"),
    "a misshapen tensor": (lambda t: t.update({NORM: t[NORM][1:]}), rf"{NORM} has shape \[127\].* \[128\]"),
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("config", ["configs/grpo.py", "configs/evaluate.py", "configs/export.py"])
def test_tensors_of_a_policy(refused, world, name, config):
    edit, message = POLICIES[name]
    tensors(world, edit)
    assert re.search(message, refused(config=config))  # from the headers, before anything is prepared


def test_a_damaged_policy(refused, world):
    data = bytearray((world / "policy" / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (world / "policy" / "model.safetensors").write_bytes(data)
    assert "policy: damaged (model.safetensors has changed" in refused(config="configs/export.py", left="run/")


def test_an_adapter_for_another_base(refused, world, mini):
    """Of another size, and of the same size but trained over other weights."""
    shutil.copytree(mini.workdir / "export" / "adapter", world / "adapter")
    path = world / "adapter" / "adapter_model.safetensors"
    assert "adapter was trained over another base" in refused(f"--config.adapter={world / 'adapter'}")
    found = load_file(path)
    save_file({name.replace("layers.0.", "layers.7."): value for name, value in found.items()}, path)
    (world / "adapter" / "MANIFEST.json").unlink()
    assert re.search("layers.7.* is for another base", refused(f"--config.adapter={world / 'adapter'}"))


def test_another_runs_directory(refused, world, mini):
    error = refused("--config.seed=5", f"--workdir={mini.workdir}")
    assert f"{mini.workdir} belongs to a run with config." in error
