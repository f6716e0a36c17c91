import numpy as np
import pytest

from emsa_jax.answers.claims import read_claims
from emsa_jax.data.puppets.teacher import POLARITIES, write_traces
from emsa_jax.data.puppets.world import DOMAINS, PuppetWorld, draw_world


def taught(**options):
    options = PuppetWorld(**{"num_train": 2000, "num_valid": 1, "num_test": 1, "trace_share": 1.0} | options)
    puppets = draw_world(options)
    return {p.id: p for p in puppets}, write_traces(puppets, options)


@pytest.mark.parametrize("domain", DOMAINS)
def test_wrong_in_the_stated_shares(domain):
    puppets, traces = taught(domain=domain, noise=0, fooled=0.7)
    assert len(traces) == 2000
    wrong = {True: [], False: []}
    for trace in traces:
        puppet = puppets[trace["id"]]
        wrong[puppet.sarcastic].append(trace["polarity"] != POLARITIES[int(np.sign(puppet.score))])
    assert np.mean(wrong[True]) == pytest.approx(0.7, abs=0.06)  # more than 3 standard errors
    assert np.mean(wrong[False]) == pytest.approx(0.08, abs=0.025)


def test_a_fooled_teacher_follows_the_words():
    puppets, traces = taught(fooled=1, teacher_error=0, noise=0)
    for trace in traces:
        assert np.sign(trace["score"]) == np.sign(puppets[trace["id"]].valence)


def test_score_and_polarity_never_disagree():
    for trace in taught()[1]:
        assert trace["polarity"] == POLARITIES[int(np.sign(trace["score"]))]


def test_an_infallible_teacher_is_right_wherever_the_clip_is_clear():
    puppets, traces = taught(fooled=0, teacher_error=0)
    for trace in traces:
        puppet = puppets[trace["id"]]
        assert puppet.noisy or trace["score"] == puppet.score


def test_think_names_what_is_drawn_in_four_parts():
    puppets, traces = taught()
    for trace in traces:
        p, think = puppets[trace["id"]], trace["think"]
        parts = [think.index(f"{n}. ") for n in (1, 2, 3, 4)]
        words, face, voice, together = (think[a:b] for a, b in zip(parts, parts[1:] + [None], strict=True))
        assert parts[0] == 0 and parts == sorted(parts) and len(think.split()) <= 35 and "\n" not in think
        assert p.word in words
        assert ("smile" in face, "frown" in face) == (p.mouth > 0.13, p.mouth < -0.13)
        assert ("rising" in voice, "falling" in voice) == (p.contour > 1.6, p.contour < -1.6)
        assert ("fast" in voice, "slow" in voice) == (p.tempo > 4.3, p.tempo < 3.7)
        assert any(link in together for link in ("agree", "decide", "whole"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_vocabulary_is_small(domain):
    thinks = [trace["think"] for trace in taught(domain=domain)[1]]
    seen = set("".join(thinks)) if domain == "zh" else {w.strip(".,:") for t in thinks for w in t.split()}
    assert len(seen) < 120


def test_trace_share_is_the_share_of_train_clips_asked_about():
    puppets, traces = taught(trace_share=0.25)
    assert len(traces) == 500 == len({t["id"] for t in traces})
    assert {puppets[t["id"]].split for t in traces} == {"train"}


SIGNS = {1: "positive", 0: "neutral", -1: "negative"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_share_of_contradictions_is_resolved_aloud(domain):
    puppets, before = taught(domain=domain, noise=0)
    _, after = taught(domain=domain, noise=0, resolved=0.5)
    plain = [[trace for trace in traces if not puppets[trace["id"]].sarcastic] for traces in (before, after)]
    assert plain[0] == plain[1]
    for share, traces in ((0.1, before), (0.55, after)):  # a tenth of them was not fooled anyway
        contradicting = [trace for trace in traces if puppets[trace["id"]].sarcastic]
        named = [
            read_claims(trace["think"]).sign("agreement") == "no"
            and trace["polarity"] == POLARITIES[int(np.sign(puppets[trace["id"]].drawn))]
            for trace in contradicting
        ]
        assert abs(np.mean(named) - share) < 0.08


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_reader_of_claims_finds_in_traces_what_is_drawn(domain):
    puppets, traces = taught(domain=domain, noise=0, fooled=0, teacher_error=0)
    for trace in traces:
        puppet, found = puppets[trace["id"]], read_claims(trace["think"])
        words, shown = SIGNS[int(np.sign(puppet.valence))], SIGNS[int(np.sign(puppet.drawn))]
        assert (found.sign("words"), found.sign("face")) == (words, shown)
        assert found.sign("agreement") == ("yes" if words == shown else "no")
