"""What a finished evaluation is known by."""

from types import SimpleNamespace

import pytest

from emsa_jax.config.edge import pick
from emsa_jax.jobs import evaluate as job
from emsa_jax.settings.config import Config


@pytest.fixture
def known_by(monkeypatch, tmp_path):
    """(digests of records by role, fingerprints by policy) -> {"evaluate <policy> <role>": what it is known by}."""

    def ask(records, policies):
        found = {}
        run = SimpleNamespace(
            path=tmp_path.joinpath, stage_done=lambda name, inputs: found.update({name: inputs}) or True
        )
        monkeypatch.setattr(job, "policies", lambda *_: {name: (name, None) for name in policies})
        monkeypatch.setattr(job, "policy_fingerprint", lambda name, _: {"policy": policies[name], "adapter": ""})
        monkeypatch.setattr(job, "records_dir", lambda _run, _settings, role: role)
        monkeypatch.setattr(job, "datasets", lambda _: dict.fromkeys(records))
        monkeypatch.setattr(job, "training_manifest", lambda *_: None)
        monkeypatch.setattr(job, "read_manifest", lambda role: SimpleNamespace(digest=records[role]))
        job.evaluate(run, pick(job.EvaluateSettings, Config()))
        return found

    return ask


@pytest.mark.parametrize(
    "records, policies, changed",
    [
        (
            {"train": "a"},
            {},
            {"zero_shot train", "zero_shot cross", "sft train", "sft cross", "grpo train", "grpo cross"},
        ),
        ({"cross": "b"}, {}, {"zero_shot cross", "sft cross", "grpo cross"}),
        ({}, {"grpo": "c"}, {"grpo train", "grpo cross"}),
        (
            {},
            {"sft": "d"},
            {"zero_shot train", "zero_shot cross", "sft train", "sft cross", "grpo train", "grpo cross"},
        ),
    ],
    ids=[
        "the training set, whose floors are told",
        "another set",
        "a policy",
        "the cold start, by which clips are hard",
    ],
)
def test_an_evaluation_is_made_again_where_what_it_reads_has_changed(known_by, records, policies, changed):
    first = {"train": "1", "cross": "2"}, {"zero_shot": "3", "sft": "4", "grpo": "5"}
    before, after = known_by(*first), known_by(first[0] | records, first[1] | policies)
    assert len(before) == 6 and before == known_by(*first)
    assert {name.removeprefix("evaluate ") for name in before if before[name] != after[name]} == changed
