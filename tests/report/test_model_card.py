"""Model cards, as huggingface_hub reads them: nothing that was not measured, and nothing left out that was."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard

from emsa_jax.config.edge import pick, to_dict
from emsa_jax.evaluation.predictions import summarize
from emsa_jax.jobs.export import ExportSettings
from emsa_jax.policy.trained_for import TrainedFor
from emsa_jax.report.card_facts import BaseFacts, CardFacts, DataFacts, base_facts, card_facts, measured_digest
from emsa_jax.report.model_card import model_card
from emsa_jax.settings.presets import paper

DATA = DataFacts(
    role="train",
    title="CH-SIMS",
    kind="ch_sims",
    digest="0123abcd",
    samples={"train": 1368, "valid": 456, "test": 457},
    quarantined=2,
    languages=("zh",),
    score_range=(-1.0, 1.0),
    licence="research, <non-commercial>",
    notes=("59 of 60 videos | are in both",),
)


def result(scores):
    """A metrics.json of answers with these scores, None where nothing was read; every true one is 0.4 or -0.4."""
    rows = [
        {
            "id": f"c{i}",
            "target": 0.4 if i % 2 else -0.4,
            "target_polarity": "Positive" if i % 2 else "Negative",
            "score": score,
            "polarity": None if score is None else "Positive" if score > 0 else "Negative",
            "answer": "",
            "rewards": {"total": 0.0},
            "about": {},
            "shown": ["text"],
        }
        for i, score in enumerate(scores)
    ]
    return json.loads(json.dumps(summarize(rows, (-1.0, 1.0), "worst", 0.0, [0.0, 0.4, -0.4], 50)))


def facts(**given):
    found = CardFacts(
        stage="grpo",
        status="learned",
        warnings=(),
        base=BaseFacts(name="Qwen/Qwen2.5-Omni-7B", licences=("apache-2.0",)),
        data=(DATA,),
        split="test",
        config=to_dict(replace(paper(), policy="/secret/place/Qwen2.5-Omni-7B", data="/secret/place/CH-SIMS")),
        results={"train": {"zero_shot": result([0.1] * 8), "grpo": result([-0.3, 0.3] * 4)}},
        shown={"train": "CH-SIMS (in domain)"},
        architecture="Qwen2_5OmniThinkerForConditionalGeneration",
        trained_for=TrainedFor(format="dc", score_range=(-1.0, 1.0), language="zh"),
        bibtex="@misc{one,\n  title = {One}\n}\n",
    )
    return replace(found, **given)


def read(text):
    """The card's head, after huggingface_hub has read it, and its body."""
    card = ModelCard(text)
    assert card.data.to_dict()  # a head that is no mapping is an error
    return card.data, card.text


def test_the_head_is_what_the_hub_knows():
    head, _ = read(model_card(facts(), "merged"))
    assert (head.base_model, head["base_model_relation"]) == ("Qwen/Qwen2.5-Omni-7B", "finetune")
    assert (head.library_name, head.pipeline_tag, head.license) == ("transformers", "video-text-to-text", "apache-2.0")
    assert head.language == ["zh"] and {"grpo", "emsa_jax"} <= set(head.tags)
    adapter, _ = read(model_card(facts(), "adapter"))
    assert (adapter.library_name, adapter["base_model_relation"]) == ("peft", "adapter") and "lora" in adapter.tags
    words, _ = read(
        model_card(facts(trained_for=TrainedFor(format="dc", score_range=(-1, 1), modalities=("text",))), "merged")
    )
    assert words.pipeline_tag == "text-generation"


def test_results_are_those_of_the_evaluation():
    head, body = read(model_card(facts(), "merged"))
    found = {one.metric_name: one for one in head.eval_results}
    measured = facts().results["train"]["grpo"]
    accuracy = found["polarity acc"]
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", measured["metrics"]["Polarity_acc"])
    assert accuracy.metric_args == {"n": 8, "interval_95": measured["intervals"]["Polarity_acc"]}
    assert (accuracy.dataset_type, accuracy.dataset_split) == ("ch_sims", "test")
    assert accuracy.dataset_args == {"digest": "0123abcd"}
    assert found["MAE"].metric_type == "mae" and found["MAE"].metric_value == pytest.approx(0.1)
    assert found["Corr"].metric_type == "pearsonr"
    low, high = measured["intervals"]["MAE"]
    assert f"| MAE | {measured['metrics']['MAE']:.3f} | {low:.3f} to {high:.3f} | 8 |" in body
    assert "| zero-shot |" in body and "| after RL |" in body and "| mean of train |" in body


def test_what_was_not_measured_is_said():
    head, body = read(model_card(facts(results={"train": {}}), "merged"))
    assert head.eval_results is None and "This policy was not evaluated there" in body
    unread, body = read(model_card(facts(results={"train": {"grpo": result([None] * 8)}}), "merged"))
    assert unread.eval_results is None and "0 of 8 read" in body


@pytest.mark.parametrize("status, said", [("nothing_learned", "**Nothing learned**"), ("collapsed", "**Collapsed**")])
def test_a_stage_that_taught_nothing_is_marked(status, said):
    _, body = read(model_card(facts(status=status, warnings=("grpo: all | answers <are> one",)), "merged"))
    assert said in body and f"`{status}`" in body and f"after RL ({said.strip('*').lower()})" in body
    assert r"all \| answers \<are\> one" in body
    assert said not in read(model_card(facts(), "merged"))[1]


def test_data_licence_and_places():
    _, body = read(model_card(facts(), "adapter"))
    assert "train 1,368, valid 456, test 457 clips; 2 more could not be used" in body and "`0123abcd`" in body
    assert r"research, \<non-commercial\>" in body and r"59 of 60 videos \| are in both" in body
    assert "secret" not in body and '"policy": "Qwen2.5-Omni-7B"' in body  # where it lay is nobody's business
    for word in ("hiring", "schools", "policing", "Consent", "culture", "2024/1689", "not what a person feels"):
        assert word in body.replace("\n", " ")
    assert "@misc{one," in body
    unknown = facts(base=BaseFacts(name="mine"), data=(replace(DATA, licence="", notes=()),))
    head, body = read(model_card(unknown, "merged"))
    assert head.license is None and "No file of the base says" in body and "not known to this software" in body
    both, _ = read(model_card(facts(base=BaseFacts(name="mine", licences=("apache-2.0", "mit"))), "merged"))
    assert (both.license, both["license_name"]) == ("other", "apache-2.0-and-mit")


def test_what_has_random_weights_has_no_base():
    head, body = read(model_card(facts(base=BaseFacts(name="")), "merged"))
    assert head.base_model is None and "random weights" in body


def test_where_a_base_comes_from(tmp_path):
    assert base_facts("tiny") == BaseFacts(name="")
    directory = tmp_path / "Qwen2.5-Omni-3B"
    directory.mkdir()
    assert base_facts(str(directory)) == BaseFacts(name="Qwen/Qwen2.5-Omni-3B")
    (directory / "README.md").write_text("---\nlicense: other\nlicense_name: x\n---\n# it\n")
    assert base_facts(str(directory)).licences == ("other",)
    (directory / "README.md").write_text("no head\n")
    (directory / "LICENSE-text").write_text("   Apache License\n Version 2.0")
    (directory / "LICENSE-audio").write_text("MIT License\n\nCopyright")
    assert base_facts(str(directory)).licences == ("mit", "apache-2.0")
    (directory / "config.json").write_text('{"_name_or_path": "org/name"}')
    assert base_facts(str(directory)).name == "org/name"


def test_an_export_needs_no_data(tmp_path):
    config = replace(paper(), policy=str(tmp_path / "base"))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    run = SimpleNamespace(workdir=tmp_path, config=to_dict(config), path=lambda *parts: tmp_path.joinpath(*parts))
    found = card_facts(run, pick(ExportSettings, config), "zero_shot", tmp_path / "base", None)
    head, body = read(model_card(found, "merged"))
    assert head.eval_results is None and "No data were prepared" in body and "Nothing was trained" in body


def test_new_results_make_a_new_card(tmp_path):
    before = measured_digest(tmp_path)
    place = tmp_path / "evaluate/grpo/train"
    place.mkdir(parents=True)
    (place / "metrics.json").write_text("{}")
    with_result = measured_digest(tmp_path)
    (tmp_path / "grpo").mkdir()
    (tmp_path / "grpo/summary.json").write_text('{"status": "collapsed", "warnings": []}')
    assert len({before, with_result, measured_digest(tmp_path)}) == 3
