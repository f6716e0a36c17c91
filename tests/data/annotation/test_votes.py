"""Votes: read strictly, and decided by majority or mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsa_jax.answers.concept_table import CH_CEMS
from emsa_jax.data.annotation.votes import majority, read_merge, read_votes, score
from emsa_jax.errors import InputError

HEAD = "item,annotator,field,value\n"


def write(tmp_path, *rows, head=HEAD):
    path = tmp_path / "votes.csv"
    path.write_text(head + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def test_reading(tmp_path):
    votes = read_votes(
        write(
            tmp_path, "b,1,tone,sad", "b,1,sentiment,-1", "a,1,sentiment,1.0", "b,2,sentiment,0", "a,1,style,Scientific"
        ),
        {"style": {"Scientific": "Narrative"}},
    )
    assert votes.items == ("b", "a") and votes.concepts == ("tone", "style")
    assert votes.votes["sentiment"] == {"b": ("-1", "0"), "a": ("1",)}
    assert votes.votes["style"] == {"a": ("Narrative",)}
    counts, values = votes.counts("sentiment")
    assert values == ("-1", "0", "1") and counts.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert votes.counts("tone")[0].tolist() == [[1], [0]]


def test_one_label_in_two_spellings_is_one(tmp_path):
    spellings = {concept.name: concept.labels.read for concept in CH_CEMS}
    path = write(
        tmp_path,
        "a,1,sentiment,0",
        "a,1,tone,casual",
        "a,2,tone,CASUAL",
        "a,3,tone,随意",
        "a,4,tone,Other",
        "a,1,gaze,Away",
    )
    votes = read_votes(path, {"tone": {"Other": "sad"}}, spellings).votes
    assert votes["tone"] == {"a": ("casual", "casual", "casual", "sad")} and votes["gaze"] == {"a": ("Away",)}
    for field in ("Tone", "SENTIMENT"):
        with pytest.raises(InputError, match=f"line 2: field '{field}' must be written '{field.lower()}'"):
            read_votes(write(tmp_path, f"a,1,{field},0"), {}, spellings)


def test_free_text_is_no_label(tmp_path):
    path = write(tmp_path, "a,0,sentiment,1", *(f"a,{i},remark,said {i}" for i in range(1001)))
    with pytest.raises(InputError, match="field 'remark' has 1001 different values"):
        read_votes(path)


def test_merging(tmp_path):
    path = tmp_path / "merge.json"
    path.write_text('{"tone": {" Sadness ": "SAD", "grief": "sad"}}')
    spellings = {concept.name: concept.labels.read for concept in CH_CEMS}
    assert read_merge(path, spellings) == {"tone": {"Sadness": "sad", "grief": "sad"}}
    for content, message in (
        ('{"tone": {"a": "b", "b": "c"}}', "'a' counts as 'b', which counts as 'c'"),
        ('{"tone": {"a": "b", "b": "a"}}', "which counts as"),
        ('{"sentiment": {}}', "averaged"),
        ('{"tone": {"a": "b", "a": "c"}}', "'a' is given twice"),
        ('{"tone": "sad"}', "object"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=f"config.merge: .*merge.json.*{message}"):
            read_merge(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1,speaker,x", "'speaker' is the name"),
        ('"a\tb",1,sentiment,1', "item has a line break or control"),
        ("a,1,sentiment,2", "is -1, 0 or 1, not '2'"),
        ("a,1,sentiment,0.5", "is -1, 0 or 1"),
        ("a,1,sentiment,good", "is -1, 0 or 1, not 'good'"),
        ("a,1,sentiment,nan", "is -1, 0 or 1"),
        ("a,,tone,sad", "annotator is empty"),
        ("a,1,tone, ", "value is empty"),
        (",1,tone,sad", "item is empty"),
        ("a,9,sentiment,1", "'9' has voted on sentiment of 'a' already (PATH line 2)"),
        ("c,1,tone,sad", "'c' has no vote on sentiment"),
        ("a,1,tone", "value is empty"),
        ("a,1,split,x", "'split' is the name"),
    ],
)
def test_a_bad_line_is_named(tmp_path, row, message):
    path = write(tmp_path, "a,9,sentiment,1", row)
    with pytest.raises(InputError) as error:
        read_votes(path)
    assert f"{path} line 3" in str(error.value) and message.replace("PATH", str(path)) in str(error.value)


def test_a_file_without_votes_or_columns_is_named(tmp_path):
    with pytest.raises(InputError, match="has no votes"):
        read_votes(write(tmp_path))
    with pytest.raises(InputError, match="lacks the column field"):
        read_votes(write(tmp_path, head="item,annotator,value\n"))


@given(st.lists(st.sampled_from("abcd"), min_size=5, max_size=5))
def test_three_of_five_decide(votes):
    counts = {v: votes.count(v) for v in votes}
    decided = [v for v, n in counts.items() if n >= 3]
    assert majority(votes) == (decided[0] if decided else None)


def test_a_tie_is_no_majority():
    assert majority("aaabbb") is None and majority("aaabbbc") is None and majority("aaaabbb") == "a"
    assert majority("", 3) is None and majority("aa") is None and majority("a", 1) == "a"


@given(st.lists(st.sampled_from(["-1", "0", "1"]), min_size=5, max_size=5))
def test_the_mean_lies_on_the_grid(votes):
    mean = score(votes)
    assert mean == round(np.mean([int(v) for v in votes]), 6) and f"{mean:g}" in {f"{n / 5:g}" for n in range(-5, 6)}
    assert str(mean) != "-0.0"
