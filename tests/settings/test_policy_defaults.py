"""What a user leaves open is taken from the run in the work directory, or from what the policy says of itself."""

import json
from dataclasses import replace

import pytest

from emsa_jax.config.edge import to_dict
from emsa_jax.errors import InputError
from emsa_jax.policy.trained_for import TrainedFor, write_trained_for
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.settings.config import Config
from emsa_jax.settings.policy_defaults import with_defaults
from emsa_jax.settings.presets import embedded

LEARNED = TrainedFor(
    format="think_first",
    score_range=(-3.0, 3.0),
    language="zh",
    modalities=("text", "audio"),
    num_frames=4,
    max_pixels=100352,
)


@pytest.fixture
def policy(tmp_path):
    """A directory that says what its policy was trained for."""
    directory = tmp_path / "policy"
    directory.mkdir()
    write_trained_for(directory, LEARNED)
    return directory


@pytest.fixture
def table(tmp_path):
    """A csv of texts, with scores or without."""

    def write(*scores):
        lines = [f"{i},hello,test,{score}" for i, score in enumerate(scores)]
        (tmp_path / "data.csv").write_text("\n".join(["id,text,mode,label", *lines]) + "\n")
        return str(tmp_path / "data.csv")

    return write


def evaluating(policy, data, **changed):
    return replace(embedded(), stages=("prepare", "evaluate"), policy=str(policy), data=data, **changed)


def test_what_is_left_open_is_the_policys(policy, table, tmp_path):
    """The embedded preset asks in another format; the policy's goes before it, and one line says so."""
    config, lines = with_defaults(evaluating(policy, table("", "")), (), tmp_path / "run")
    assert (config.format, config.score_range, config.language) == ("think_first", (-3.0, 3.0), "zh")
    assert config.prompt.modalities == ("text", "audio")
    (line,) = lines
    assert line == (
        f"note: as {policy}/emsa.json says the policy was trained: format=think_first, score_range=(-3.0,3.0), "
        "language=zh, prompt.modalities=('text','audio')"
    )
    assert with_defaults(config, (), tmp_path / "run") == (config, [])  # nothing is left to say


def test_what_the_user_sets_stays_and_a_mismatch_is_told(policy, table, tmp_path):
    given = {"format": "dc", "score_range": (-1.0, 1.0), "language": "zh"}
    config, lines = with_defaults(evaluating(policy, table(""), **given), [*given, "prompt"], tmp_path / "run")
    assert (config.format, config.score_range, config.prompt) == ("dc", (-1.0, 1.0), embedded().prompt)
    where = f"but {policy}/emsa.json says that the policy was trained with"
    assert lines == [
        f"warning: format is dc, {where} think_first",
        f"warning: score_range is (-1.0,1.0), {where} (-3.0,3.0)",
        f"warning: prompt.modalities is ('text','audio','video'), {where} ('text','audio')",
    ]


def test_capitals_are_part_of_the_question(policy, table, tmp_path):
    write_trained_for(policy, replace(LEARNED, capitals="lowered"))
    config, _ = with_defaults(evaluating(policy, table("")), (), tmp_path / "run")
    assert config.prompt.capitals == "lowered"


def test_frames_that_nobody_knows_stay_as_they_are(policy, table, tmp_path):
    write_trained_for(policy, replace(LEARNED, modalities=("video",), max_pixels=0))
    config, _ = with_defaults(evaluating(policy, table("")), (), tmp_path / "run")
    assert config.prepare.max_pixels == embedded().prepare.max_pixels


def test_labels_stay_in_their_own_range(policy, table, tmp_path):
    """Where there are scores, another range would misread them; where they do not fit, the policy's is tried."""
    config, lines = with_defaults(evaluating(policy, table(0.5, "")), (), tmp_path / "run")
    assert config.score_range == ()
    assert f"warning: score_range is (-1.0,1.0), but {policy}/emsa.json says" in lines[-1]
    config, _ = with_defaults(evaluating(policy, table(2.5)), (), tmp_path / "run")
    assert config.score_range == (-3.0, 3.0)
    config, lines = with_defaults(evaluating(policy, table(0.5), dataset="ch_sims"), (), tmp_path / "run")
    assert config.score_range == () and "warning: score_range is (-1.0,1.0)" in lines[-1]


def test_an_adapter_speaks_before_its_base(policy, table, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    write_trained_for(adapter, TrainedFor(format="label_only", score_range=(-1.0, 1.0), language="en"))
    config, _ = with_defaults(evaluating(policy, table(""), adapter=str(adapter)), (), tmp_path / "run")
    assert (config.format, config.language) == ("label_only", "")


def test_frames_are_taken_as_the_policy_saw_them(tmp_path, table):
    write_trained_for(
        tmp_path, TrainedFor(format="dc", score_range=(-1.0, 1.0), fps=2.0, num_frames=9, max_pixels=4000)
    )
    config, (line,) = with_defaults(evaluating(tmp_path, table("")), (), tmp_path / "run")
    assert (config.prepare.fps, config.prepare.max_pixels, config.prepare.num_frames) == (2.0, 4000, 4)
    assert "prepare.fps=2.0, prepare.max_pixels=4000" in line


def test_classes_and_concepts(tmp_path, table):
    write_trained_for(tmp_path, TrainedFor(format="concepts", score_range=(-1.0, 1.0), classes=5, concepts=("tone",)))
    config, (note, warning) = with_defaults(evaluating(tmp_path, table("")), (), tmp_path / "run")
    assert config.concepts.classes == 5 and "concepts.classes=5" in note
    assert warning.startswith("warning: concepts.table has ") and warning.endswith("was trained with tone")


def test_a_cold_start_teaches_anew(policy, table, tmp_path):
    """It may teach another format; GRPO alone goes on with what there is."""
    write_trained_for(policy, replace(LEARNED, format="dc"))
    start = evaluating(policy, table(0.5))
    config = replace(start, stages=("prepare", "sft", "grpo", "evaluate"))
    assert with_defaults(config, (), tmp_path / "run") == (config, [])
    config, lines = with_defaults(replace(start, stages=("prepare", "grpo")), (), tmp_path / "run")
    assert config.language == "zh" and lines


def test_a_policy_that_says_nothing(tmp_path, table):
    config = evaluating(tmp_path, table(""))
    assert with_defaults(config, (), tmp_path / "run") == (config, [])


def test_a_format_of_tomorrow(tmp_path, table):
    write_trained_for(tmp_path, TrainedFor(format="sung", score_range=(-1.0, 1.0)))
    with pytest.raises(InputError, match="emsa.json: answer format 'sung' is unknown; choose one of dc"):
        with_defaults(evaluating(tmp_path, table("")), (), tmp_path / "run")


def test_inside_of_a_run_its_fields_are_the_defaults(tmp_path):
    """What was asked when it began, but for what is asked now; a run that learns goes by its own words alone."""
    began = replace(embedded(), format="label_only", seed=7, data="puppets:zh", hint=HintOptions(mode="off"))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(began)))
    now = replace(embedded(), stages=("evaluate",), seed=3)
    config, (line,) = with_defaults(now, ["seed"], tmp_path)
    assert config == replace(began, stages=("evaluate",), seed=3)
    assert line == f"note: as the run in {tmp_path} has it: data=puppets:zh, format=label_only, hint.mode=off"
    learns = replace(now, stages=("grpo",))
    assert with_defaults(learns, ["seed"], tmp_path) == (learns, [])


@pytest.mark.parametrize("content", ["[1]", '{"format": 3}', '{"fromat": "dc"}', "{"])
def test_a_damaged_config_of_a_run(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError):
        with_defaults(replace(embedded(), stages=("evaluate",)), (), tmp_path)


def test_predictions_of_others_ask_no_policy(policy, tmp_path):
    config = replace(Config(), predictions="x.csv", policy=str(policy), data="x.csv", stages=("evaluate",))
    assert with_defaults(config, (), tmp_path) == (config, [])
