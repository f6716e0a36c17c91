"""Annotated puppets: long tails as stated, votes as confused as stated, files that reader and annotation job take."""

import csv
import hashlib
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.answers.answer_options import ConceptOptions as Classes
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.labels import SENTIMENTS, sentiment_of
from emsa_jax.answers.traces import filter_traces, read_traces
from emsa_jax.data.annotation.agreement import fleiss_kappa
from emsa_jax.data.annotation.outcome import label_rows
from emsa_jax.data.annotation.votes import read_votes
from emsa_jax.data.facts import FACTS
from emsa_jax.data.puppets import ConceptWorld, concept_ceiling, make_concept_puppets
from emsa_jax.data.puppets.concept_world import ANNOTATORS, FIELDS, VOICES, draw_concept_world, labels_of, votes_of
from emsa_jax.data.puppets.world import PuppetWorld, draw_world, is_puppet
from emsa_jax.data.readers import read_samples

BIG = ConceptWorld(num_train=3715, num_valid=1, num_test=1)
SMALL = ConceptWorld(domain="zh", num_train=48, num_valid=8, num_test=16, seed=5, trace_share=1.0, workers=1)
SHOWN = {"tone": "tone", "expression": "expression", "speaking_style": "style"}


@pytest.fixture(scope="module")
def world():
    puppets = [p for p in draw_concept_world(BIG) if p.split == "train"]
    return puppets, [votes_of(p, BIG) for p in puppets]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("puppets") / "concepts_zh"
    make_concept_puppets(out, SMALL)
    return out


def test_classes_have_the_papers_shares(world):
    counts = Counter(sentiment_of(p.score, 5) for p in world[0])
    for name, paper in zip(SENTIMENTS[5], (279, 565, 1521, 965, 385), strict=True):
        assert abs(counts[name] - paper) <= 2


def test_labels_are_the_papers_and_their_tails_are_long(world):
    puppets, votes = world
    for field, shown in SHOWN.items():
        counts = Counter(labels_of(v)[field] for v in votes)
        none = counts.pop("", 0)
        assert none < 0.05 * len(votes) and set(counts) <= set(FACTS["ch_cems"].concepts[field])
        ranked = [n for _, n in counts.most_common()]
        assert ranked[0] > 1.5 * ranked[1] and (field == "speaking_style" or ranked[0] > 12 * ranked[-1])
        assert {getattr(p, shown) for p in puppets} == set(counts)
    assert set(VOICES) == {p.tone for p in puppets}


def test_five_annotators_agree_about_as_far_as_the_papers(world):
    """Its kappas: tone 0.54, expression 0.54, style 0.48, sentiment 0.46."""
    for field, paper in (("sentiment", 0.46), ("tone", 0.54), ("expression", 0.54), ("speaking_style", 0.48)):
        names = sorted({vote for v in world[1] for vote in v[field]})
        counts = np.array([[v[field].count(name) for name in names] for v in world[1]])
        assert (counts.sum(1) == ANNOTATORS).all()
        assert fleiss_kappa(counts) == pytest.approx(paper, abs=0.03)


def test_confusion_is_as_stated():
    options = replace(BIG, num_train=1500, rounds=1, noise=0.0)
    puppets = [p for p in draw_concept_world(options) if p.split == "train"]
    votes = [votes_of(p, options) for p in puppets]
    for field, confusion in (("tone", 0.27), ("expression", 0.22), ("speaking_style", 0.14)):
        wrong = [vote != getattr(p, SHOWN[field]) for p, v in zip(puppets, votes, strict=True) for vote in v[field]]
        assert np.mean(wrong) == pytest.approx(confusion, abs=0.02)
    sure = [votes_of(p, replace(options, tone_confusion=0.0, sentiment_confusion=0.0)) for p in puppets]
    assert all(
        labels_of(v)["tone"] == p.tone and labels_of(v)["label"] == p.score for p, v in zip(puppets, sure, strict=True)
    )


def test_a_concept_without_majority_is_voted_on_again():
    rounds = {}
    for many in (1, 2, 6):
        options = replace(BIG, num_train=600, rounds=many)
        rounds[many] = sum(not labels_of(votes_of(p, options))["tone"] for p in draw_concept_world(options))
    assert rounds[1] > 2 * rounds[2] and rounds[6] < rounds[2] / 3


def test_the_reader_takes_it_and_its_labels_are_those_of_the_votes(small):
    samples = {s.id: s for s in read_samples(small, (-1, 1), "zh", "ch_cems")}
    found = {row["item"]: row for row in label_rows(read_votes(small / "votes.csv"), 3, sentiment_of)}
    assert samples.keys() == found.keys() and len(samples) == 72
    for id, sample in samples.items():
        assert sample.score == found[id]["score"] and sample.speaker
        concepts = dict(sample.concepts)
        assert {field: concepts.get(field, "") for field in FIELDS} == {field: found[id][field] for field in FIELDS}
        assert concepts["scenario"] in FACTS["ch_cems"].concepts["scenario"]
        assert concepts["interaction"] in FACTS["ch_cems"].concepts["interaction"]
    speakers = {}
    for sample in samples.values():
        speakers.setdefault(sample.speaker, set()).add((sample.split, dict(sample.concepts)["scenario"]))
    assert all(len(found) == 1 for found in speakers.values())


def test_traces_are_answers_of_the_format_or_named_as_wrong(small):
    samples = read_samples(small, (-1, 1), "zh", "ch_cems")
    for classes in (3, 5):
        format = make_format("concepts", (-1, 1), concepts=Classes(classes))
        kept, rejected = filter_traces(read_traces(small / "traces.jsonl"), {s.id: s for s in samples}, format)
        assert len(kept) + len(rejected) == 48 and len(kept) > 15
        assert set(rejected.values()) <= {
            "the teacher's sentiment is wrong",
            "it claims an agreement that is not there",
            *(f"the teacher's {f} is wrong" for f in FIELDS),
        }
        for trace in kept:
            assert (
                "消极" in (text := format.write(trace.polarity, trace.think, trace.score))
                or "中性" in text
                or ("积极" in text)
            )


def test_equal_options_give_equal_bytes(small, tmp_path):
    def digests(folder):
        return {
            str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in folder.rglob("*")
            if p.is_file() and p.name != "MANIFEST.json"
        }

    make_concept_puppets(tmp_path / "again", replace(SMALL, workers=2))
    assert digests(tmp_path / "again") == digests(small)
    assert json.loads((small / "info.json").read_text())["options"]["tone_confusion"] == 0.27
    with open(small / "votes.csv", newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 72 * 4 * ANNOTATORS


def test_a_classifier_on_what_is_drawn_is_better_than_the_commonest_label(world, tmp_path):
    from emsa_jax.data.puppets.make import _concept_label_row as _label_row
    from emsa_jax.data.puppets.make import latent_row, write_csv

    options = ConceptWorld(num_train=400, num_valid=1, num_test=200)
    puppets = draw_concept_world(options)
    write_csv(tmp_path / "latents.csv", [latent_row(p) for p in puppets])
    write_csv(tmp_path / "label.csv", [_label_row(p, votes_of(p, options)) for p in puppets])
    found = concept_ceiling(tmp_path, 3)
    assert found["sentiment"] > 0.85 and found["expression"] > 0.8 and found["tone"] > 0.75
    assert found["speaking_style"] > 0.9


def test_puppets_are_known_by_their_ids():
    plain = draw_world(PuppetWorld(domain="zh", num_train=4, num_valid=2, num_test=2))
    annotated = draw_concept_world(ConceptWorld(num_train=4, num_valid=2, num_test=2))
    assert all(is_puppet(p.id) for p in (*plain, *annotated))
    assert not any(map(is_puppet, ("-3g5yACwYnA$_$10", "video_0001$_$0001", "en_train_000", "c1")))
