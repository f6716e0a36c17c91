"""Every answer format fulfils the one protocol, and no code outside answers/ asks which format it has."""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emsa_jax
from emsa_jax.answers.answer_format import Answer, AnswerFormat
from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import FORMATS, format_class, make_format
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.answers.labels import POLARITIES
from emsa_jax.answers.score_format import ScoreFormat
from emsa_jax.data.sample import Sample
from emsa_jax.data.views import MODALITIES
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.errors import InputError
from emsa_jax.rewards.parts import PARTS
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rewards.trigger import Trigger
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.settings.config import Config

THINK = "<facial_expression>sad</facial_expression> <tone>sad</tone> <style>Informational Interaction</style> so"
CONCEPTS = (("expression", "sad"), ("speaking_style", "Informational Interaction"), ("tone", "sad"))
CLIPS = [Sample("a", "hey", -0.8, "train", concepts=CONCEPTS), Sample("b", "hey", None, "train")]
PACKAGE = Path(emsa_jax.__file__).parent
# modules of answers/ that are about one format or one kind of formats
OF_ONE_FORMAT = {"class_format", "class_only", "concept_reader", "concepts", "dc", "describe", "label_only"}
OF_ONE_FORMAT |= {"score_format", "think_first", "ScoreFormat", "ClassFormat"}
OF_ONE_FORMAT |= {one.__name__ for one in FORMATS.values()}


def all_formats():
    """Each registered format as it asks about its own data, and about data of another range."""
    for name in FORMATS:
        yield make_format(name, (-1, 1), 0.1, ConceptOptions(5))
        yield make_format(name, (-3, 3), 0.1, ConceptOptions(5)).for_range((-1.0, 1.0))


def think_of(format):
    """A reasoning that the format can write."""
    return format.describe(format.truth(CLIPS[0])) or THINK


every_format = pytest.mark.parametrize("format", list(all_formats()), ids=lambda format: format.name)


@every_format
def test_it_has_all_members_with_the_signatures_of_the_protocol(format):
    assert isinstance(format, AnswerFormat) and FORMATS[format.name] is type(format)
    for name, method in inspect.getmembers(AnswerFormat, inspect.isroutine):
        if not name.startswith("_"):
            expected, found = (list(inspect.signature(m).parameters) for m in (method, getattr(format, name)))
            assert found == [parameter for parameter in expected if parameter != "self"], name
    assert set(format.parts) <= PARTS.keys() and format.label_part in format.parts
    assert format.score_range == (-1.0, 1.0) and format.classes in (0, 5)


@every_format
def test_what_it_writes_about_a_clip_is_right_by_its_own_account(format):
    truth = format.truth(CLIPS[0])
    assert format.truth(CLIPS[1]) is None and truth.polarity == "Negative" and truth.score == -0.8
    think = think_of(format)
    answer = format.parse(format.write(truth.polarity, think, truth.score))
    assert answer.well_formed and not format.contradicts(answer) and (answer.think is None) != format.has_reasoning
    assert not any(format.mistakes(answer, truth).values())
    assert format.trace_error(truth.polarity, think, truth.score, truth) == ""
    assert format.trace_error("Positive", think, 0.8, truth) != ""
    assert bool(format.tokenizer_text("Negative", THINK, -0.8)) == format.has_reasoning
    assert set(format.row_fields(answer, truth)) == set(format.row_fields(Answer(), None))
    assert format.identity()["format"] == format.name
    assert format.wording(truth, "en")[0] == (truth.sentiment or truth.polarity)
    table = AnswerScorer(format=format)(CLIPS, [[format.write(truth.polarity, think, truth.score)], [""]])
    np.testing.assert_allclose(table.total, [[len(format.parts)], [0]])
    assert list(table.parts) == list(format.parts)


@every_format
def test_its_hints_begin_its_answers(format):
    for level in format.levels:
        for truth in format.hinted_truths(CLIPS):
            hint, example = format.hint(truth, level), format.example(truth, level)
            assert hint and example.startswith(hint) and format.parse(example).well_formed
            assert not format.label_first or truth.polarity in hint
        assert set(format.given_parts(level)) <= set(format.parts)
        assert format.label_part in format.given_parts(level)
    assert format.given_parts("no such level") == ()
    with pytest.raises(InputError, match="hint"):
        format.hint(format.truth(CLIPS[0]), "no such level")
    assert format.levels or not format.label_first


@every_format
def test_its_answers_end_as_it_says_for_each_score(format):
    truth = format.truth(CLIPS[0])
    written = format.write(truth.polarity, think_of(format), truth.score)
    before, ends = format.before_score(written), format.score_ends()
    assert bool(ends) == ("score" in format.parts)
    for score, end in ends:
        answer = format.parse(before + end)
        assert answer.well_formed and answer.score == score
    assert not ends or written in [before + end for _, end in ends]


@every_format
def test_it_asks_about_what_is_there_in_both_languages(format):
    texts = {format.ask(modalities, language) for modalities in (MODALITIES, ["text"]) for language in ("en", "zh")}
    assert len(texts) == 4 and not any(format.parse(text).well_formed for text in texts)


@every_format
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_it_reads_whatever_stands_there(format, data):
    pieces = re.findall(r"<[^>]*>|[^<]+", format.write("Negative", think_of(format), -0.8))
    piece = st.sampled_from([*pieces, "</", "<|im_end|>", "\0", "9e99", "１"]) | st.text("<>/a1-é \n", max_size=4)
    text = "".join(data.draw(st.lists(piece, max_size=12)))
    answer, before = format.parse(text), format.before_score(text)
    assert answer.score is None or -1 <= answer.score <= 1
    assert before is None or text.startswith(before)
    assert answer.is_read or not answer.well_formed


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="'json' is unknown; choose one of dc, think_first"):
        format_class("json")
    with pytest.raises(InputError, match="'json' is unknown"):
        Config(format="json")
    with pytest.raises(InputError, match="'json' is unknown"):
        DistillOptions(format="json")
    with pytest.raises(InputError, match="label_only answers have no reasoning"):
        DistillOptions(format="label_only")


def branches(path: Path):
    """What a file does to find out which answer format it has: (line, what)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("emsa_jax.answers"):
            modules = {node.module.rpartition(".")[2], *(alias.name for alias in node.names)}
            if modules & OF_ONE_FORMAT:
                yield node.lineno, f"imports {node.module}"
        if isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
            if any(is_format(side) for side in compared) or any(is_format_name(side) for side in compared):
                yield node.lineno, f"compares {ast.unparse(node)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            asked = node.func.id in ("isinstance", "hasattr", "getattr", "type", "issubclass")
            if asked and node.args and is_format(node.args[0]):
                yield node.lineno, f"calls {ast.unparse(node)}"
        if isinstance(node, ast.Match) and is_format(node.subject):
            yield node.lineno, "matches a format"


def is_format(node: ast.AST) -> bool:
    """format, config.format, plan.format.name and the like; not those of media containers."""
    text = ast.unparse(node)
    return (text == "format" or text.endswith((".format", "format.name"))) and "container" not in text


def is_format_name(node: ast.AST) -> bool:
    """The name of a format, where it stands for nothing else."""
    return isinstance(node, ast.Constant) and node.value in FORMATS.keys() - {"concepts"}


def test_no_code_outside_answers_asks_which_format_it_has():
    files = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "answers"]
    found = [f"{path.relative_to(PACKAGE)}:{line} {what}" for path in files for line, what in branches(path)]
    assert len(files) > 100 and found == []


@pytest.mark.parametrize(
    "line",
    [
        "if config.format in NAMES: pass",
        "x = 1 if format.name == 'dc' else 2",
        "if hasattr(plan.format, 'table'): pass",
        "if isinstance(format, object): pass",
        "y = name == 'class_only'",
        "from emsa_jax.answers.dc import DC",
        "from emsa_jax.answers import dc",
    ],
)
def test_a_branch_on_the_format_is_noticed(tmp_path, line):
    (tmp_path / "some.py").write_text(line)
    assert list(branches(tmp_path / "some.py"))


@dataclass(frozen=True)
class Shouted(LabelOnly):
    """A score and an exclamation mark. It is all that a new format is."""

    name = "shouted"
    parts = ("format", "polarity", "loudness")

    def write(self, polarity, think, score):
        return super().write(polarity, think, score) + "!"

    def parse(self, text):
        return super().parse(text.removesuffix("!")) if text.endswith("!") else Answer(notes=("it is not shouted",))


@dataclass(frozen=True)
class Bare(ScoreFormat):
    """What CONTRIBUTING.md says that a format of answers with a score has to write, and nothing else."""

    name = "bare"

    def write(self, polarity, think, score):
        return f"{polarity}: {think} {self.score_part(self.write_score(score))}"

    def parse(self, text):
        polarity, _, rest = text.partition(": ")
        think, _, last = rest.partition(" <score>")
        score, why = self.read_score(last.removesuffix("</score>"))
        if polarity not in POLARITIES or why:
            return Answer(notes=("it is not bare",))
        return Answer(polarity=polarity, think=think, score=score)

    def ask(self, modalities, language):
        return f"{language}: {', '.join(modalities)}"


def test_write_parse_and_ask_make_a_format_of_scores(monkeypatch):
    monkeypatch.setitem(FORMATS, "bare", Bare)
    for format in (Bare((-1.0, 1.0), 0.1), Bare((-3.0, 3.0), 0.1).for_range((-1.0, 1.0))):
        test_it_has_all_members_with_the_signatures_of_the_protocol(format)
        test_what_it_writes_about_a_clip_is_right_by_its_own_account(format)
        test_its_hints_begin_its_answers(format)
        test_its_answers_end_as_it_says_for_each_score(format)
        test_it_asks_about_what_is_there_in_both_languages(format)
    assert format.before_score("no score") is None and format.before_score("</score> <score>") is None


def loudness(answer, truth, format, options):
    """A new reward part."""
    return None if truth is None else float(answer.score is not None)


def test_a_new_format_and_a_new_part_are_one_line_each(monkeypatch):
    monkeypatch.setitem(FORMATS, "shouted", Shouted)
    monkeypatch.setitem(PARTS, "loudness", loudness)
    config = Config(format="shouted", hint=HintOptions(mode="off"), reward=RewardOptions({"loudness": 3.0}))
    format = make_format(config.format, (-1, 1))
    assert isinstance(format, AnswerFormat)
    score_answers = AnswerScorer.of(format, config.reward, CLIPS)
    table = score_answers(CLIPS, [[format.write("", "", -0.8), "-0.8", "0.5!"], ["0.1!", "", ""]])
    np.testing.assert_array_equal(table.parts["loudness"], [[1, 0, 1], [np.nan] * 3])
    np.testing.assert_array_equal(table.total, [[5, 0, 4], [1, 0, 0]])
    assert Trigger.of(config.hint, config.reward, format).hard(table).tolist() == [False, False]
    with pytest.raises(InputError, match="nothing to hint at"):
        Config(format="shouted")
