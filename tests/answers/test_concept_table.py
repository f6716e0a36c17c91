"""A user's own table of concepts."""

import json

import pytest

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.concept_table import concept_table
from emsa_jax.answers.formats import make_format
from emsa_jax.data.views import MODALITIES
from emsa_jax.errors import InputError

GAZE = {
    "name": "gaze",
    "tag": "eye_gaze",
    "aliases": ["gaze"],
    "labels": {"en": ["at the listener", "away"], "zh": ["看着对方", "移开"]},
}
PACE = {"name": "pace", "labels": {"en": ["slow", "fast", "even"]}}


def table(tmp_path, *concepts, content=None):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"concepts": list(concepts)} if content is None else content), encoding="utf-8")
    return ConceptOptions(3, str(path))


def test_it_takes_the_place_of_the_papers(tmp_path):
    format = make_format("concepts", (-1, 1), concepts=table(tmp_path, GAZE, PACE))
    think = "She <eye_gaze>Away</eye_gaze> and <pace>slow</pace>"
    parsed = format.parse(format.write("", think, -0.4))
    assert parsed.well_formed and parsed.concepts == (("gaze", "away"), ("pace", "slow"))
    assert format.parse(format.write("", think.replace("eye_gaze", "gaze"), 0.0)).concepts == parsed.concepts
    assert format.write("", think.replace("Away", "移开"), -0.4).endswith("<sentiment>消极</sentiment>")
    text = format.ask(MODALITIES, "zh")
    assert "<eye_gaze>看着对方|移开</eye_gaze>" in text and "<pace>slow|fast|even</pace>" in text and "tone" not in text
    assert concept_table(ConceptOptions())[2].name == "tone"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tag": "think"}, "'think' stands for two"),
        ({"tag": "Eye gaze"}, "tag 'Eye gaze' must be lower-case"),
        ({"aliases": ["pace"]}, "'pace' stands for two"),
        ({"aliases": "gaze"}, "aliases must be a list"),
        ({"labels": {"en": ["one"]}}, "two or more"),
        ({"labels": {"en": ["a", "A"]}}, "all different"),
        ({"labels": {"en": ["a", "b"], "zh": ["c", "d", "e"]}}, "are 3, but 2 of"),
        ({"labels": {"fr": ["a", "b"]}}, "en or zh"),
        ({"labels": {"en": ["a", "b"], "zh": ["b", "a"]}}, "'b' stands for two things"),
        ({"labels": {"en": ["a<b", "c"]}}, "without < >"),
        ({"labels": {"en": [1, 2]}}, "list of texts"),
        ({"name": ""}, "name must be a text"),
        ({"name": "a\nb"}, "text of one line"),
        ({"name": "concept", "tag": "gaze"}, "'concept' is no concept"),
        ({"labels": {"en": ["a", "\u200b"]}}, "visible"),
        ({"labels": {"en": ["a", "\ud800"]}}, "surrogates"),
        ({"name": "pace"}, "the same name"),
        ({"colour": 1}, "'colour' is none of name"),
    ],
)
def test_a_bad_table_is_named(tmp_path, change, message):
    with pytest.raises(InputError) as error:
        concept_table(table(tmp_path, GAZE | change, PACE))
    assert message in str(error.value) and "table.json" in str(error.value)


@pytest.mark.parametrize("content", [[], {}, {"concepts": []}, {"concepts": ["tone"]}, "x"])
def test_other_json_is_no_table(tmp_path, content):
    with pytest.raises(InputError, match="table.json"):
        concept_table(table(tmp_path, content=content))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="concepts.table: .*nowhere"):
        concept_table(ConceptOptions(3, str(tmp_path / "nowhere")))
    for content, message in (
        ("{", "line 1"),
        ('{"concepts": [], "concepts": []}', "'concepts' is given twice"),
        ('{"concepts": "\\ud800"}', "surrogates"),
    ):
        (tmp_path / "bad").write_text(content)
        with pytest.raises(InputError, match=f"concepts.table.*{message}"):
            concept_table(ConceptOptions(3, str(tmp_path / "bad")))
