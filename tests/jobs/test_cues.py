"""The job cues, as a user runs it."""

import json

import pytest
from transformers import BertModel

from emsa_jax.cues.cues_options import CuesOptions
from emsa_jax.errors import InputError
from emsa_jax.jobs.cues import cues
from tests.policy.test_bert import tiny
from tests.policy.test_parts import randomize
from tests.policy.test_sentence_encoder import WORDS

GOLD = {
    "a": {"visual": ["a man smile ##s"], "auditory": ["the voice is loud", "context"], "emotional": ["he is not"]},
    "b": {"visual": ["a woman"], "auditory": [], "emotional": []},
}
PREDICTED = {"a": {"visual": ["a man smile ##s"], "auditory": ["context is loud"]}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("encoder")
    model = BertModel._from_config(tiny(vocab_size=len(WORDS)), attn_implementation="eager")
    randomize(model, 2).save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return directory


@pytest.fixture
def run(encoder, tmp_path, capsys):
    """(predictions, gold, options) -> the last line, read."""

    def run(predicted=PREDICTED, gold=GOLD, **options):
        for name, content in (("predictions", predicted), ("gold", gold)):
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
            options.setdefault(name, str(tmp_path / f"{name}.json"))
        cues(CuesOptions(**{"encoder": str(encoder), "resamples": 20} | options))
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_the_last_line_is_the_result_of_the_rule(run, tmp_path):
    official, ours = run(subtitle_rule="official"), run(out=str(tmp_path / "out"))
    assert list(official) == ["visual", "auditory", "emotional", "mean", "mean_f1", "missing_predictions"]
    assert official["missing_predictions"] == ours["missing_predictions"] == 1
    whole = {name: pytest.approx(1) for name in ("precision", "recall", "f1")}
    assert official["visual"] == whole | {"n": 1}
    assert ours["visual"] == {name: pytest.approx(0.5) for name in ("precision", "recall", "f1")} | {"n": 2}
    assert official["auditory"] == {"precision": 0, "recall": 0, "f1": 0, "n": 1}  # "context" has the letters text
    assert 0 < ours["auditory"]["f1"] < 1 and official["emotional"]["n"] == ours["emotional"]["n"] == 1
    six = [official[kind][name] for kind in ("visual", "auditory", "emotional") for name in ("precision", "recall")]
    assert official["mean"] == pytest.approx(sum(six) / 6)
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["results"] == {"official": official, "subtitles": ours} and scores["rule"] == "subtitles"
    low, high = scores["intervals"]["visual"]["f1"]
    assert low == pytest.approx(0) and high == pytest.approx(1)
    assert len((tmp_path / "out/pairs.jsonl").read_text().splitlines()) == 7
    page = (tmp_path / "out/cues.html").read_text()
    assert page.count("<section>") == 2 and 'class="mark">unmatched' in page and "1.00</td>" in page


def test_descriptions_are_scored_as_texts_too(run, tmp_path):
    text = "In the video, a man smile ##s. Overall, he is glad."
    found = run({"a": text}, {"a": text, "b": "In the video, a woman."}, out=str(tmp_path / "out"))
    assert found["visual"]["f1"] == pytest.approx(0.5) and found["missing_predictions"] == 1
    scores = json.loads((tmp_path / "out/scores.json").read_text())["descriptions"]
    assert scores["n"] == 2 and 0.6 < scores["bleu_1"] < 1 and scores["cider_d"] == pytest.approx(5)


@pytest.mark.parametrize(
    "given, words",
    [
        (dict(predictions=""), "config.predictions: name a file"),
        (dict(gold={}), "holds no clip"),
        (dict(predicted={"c": {}}), "clip 'c' is not in"),
        (dict(predicted={"a": {"visual": [1]}}), "must be a list of strings"),
        (dict(encoder="/nowhere"), "no such directory"),
        (dict(out="/dev/null/out"), "config.out"),
    ],
)
def test_bad_input_is_one_line(run, given, words):
    with pytest.raises(InputError, match=words) as error:
        run(**given)
    assert "\n" not in str(error.value)


def test_without_an_encoder_the_line_says_where_to_get_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="make weights"):
        run(encoder="")
