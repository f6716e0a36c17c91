"""Concept answers: what is written comes back, and hostile text has the stated result, in linear time."""

import itertools
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.answers.answer_format import Truth
from emsa_jax.answers.class_only import ClassOnly
from emsa_jax.answers.concept_table import CH_CEMS, Concept, Labels
from emsa_jax.answers.concepts import LEVELS, Concepts
from emsa_jax.answers.labels import SENTIMENTS, polarity_of_sentiment
from emsa_jax.data.sample import Sample
from emsa_jax.data.views import MODALITIES
from emsa_jax.errors import InputError

FORMAT = Concepts(5)
FACE, STYLE, TONE = (
    "<facial_expression>happy</facial_expression>",
    "<speaking_style>Informational Interaction</speaking_style>",
    "<tone>casual</tone>",
)
THINK = f"She smiles: {FACE}. {STYLE} Light: {TONE}."
GOOD = f"<think>{THINK}</think>\n<sentiment>Weakly Positive</sentiment>"
ALL = {"expression": "happy", "speaking_style": "Informational Interaction", "tone": "casual"}
ABSENT = ("expression is absent", "speaking_style is absent", "tone is absent")

thoughts = st.text(max_size=40).filter(lambda t: "<" not in t and "\x00" not in t)
SCORES = dict(zip(SENTIMENTS[5], (-1.0, -0.4, 0.0, 0.2, 0.8), strict=True))


def true(sentiment, concepts=(), language="en"):
    polarity, score = polarity_of_sentiment(sentiment), SCORES[sentiment]
    return Truth(polarity=polarity, score=score, sentiment=sentiment, concepts=concepts, language=language)


def clip(score, concepts=(), language="en"):
    return Sample("a", "", score, "train", concepts=tuple(concepts), language=language)


truths = st.builds(
    true,
    st.sampled_from(SENTIMENTS[5]),
    st.tuples(*(st.sampled_from(c.labels.known).map(lambda label, c=c: (c.name, label)) for c in CH_CEMS)),
    st.sampled_from(["en", "zh"]),
)


@given(truths, st.lists(thoughts, min_size=4, max_size=4), st.permutations(range(3)), st.booleans())
def test_what_is_written_is_read(truth, texts, order, twice):
    marks = FORMAT.marks(dict(truth.concepts), truth.language)
    think = "".join(text + marks[i] for text, i in zip(texts, order, strict=False)) + texts[3] + twice * marks[0]
    answer = FORMAT.write("", think, SCORES[truth.sentiment])
    parsed = FORMAT.parse(answer)
    assert parsed.well_formed and parsed.think == think.strip()
    assert (parsed.sentiment, parsed.concepts) == (truth.sentiment, truth.concepts)
    assert FORMAT.sentiments.write(truth.sentiment, truth.language) in answer  # in the language of the marks


pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<sentiment>",
        "</sentiment>",
        "<concept>",
        "</concept>",
        "<tone>",
        "</tone>",
        "<Tone>",
        "<style>",
        "</style>",
        "<speaking_style>",
        "</speaking_style>",
        "<expression>",
        "</facial_expression>",
        "<tone",
        "<",
        ">",
        "/",
        "Positive",
        "weakly positive",
        "casual",
        "happy",
        "General Narrative Exposition",
        "积极",
        "高兴",
        "\x00",
        "<|im_end|>",
        " ",
        "\n",
        "\ud800",
        "words",
        FACE,
        STYLE,
        TONE,
        "<sentiment>Neutral</sentiment>",
    ]
)


@settings(max_examples=800)
@given(
    st.one_of(
        st.text(),
        st.lists(pieces, max_size=30).map("".join),
        st.lists(pieces, max_size=8).map(lambda p: f"<think>{''.join(p)}{THINK}</think>" + GOOD[-40:]),
    )
)
def test_parse_never_raises_and_keeps_its_word(text):
    parsed = FORMAT.parse(text)
    assert parsed.well_formed == (not parsed.notes)
    assert parsed.sentiment in (None, *SENTIMENTS[5])
    assert parsed.polarity == (parsed.sentiment and parsed.sentiment.split()[-1])
    labels = {c.name: c.labels.known for c in CH_CEMS}
    assert all(label in labels[name] for name, label in parsed.concepts)
    assert len(dict(parsed.concepts)) == len(parsed.concepts)
    if parsed.well_formed:
        assert dict(parsed.concepts).keys() == labels.keys() and parsed.think and parsed.sentiment
        again = FORMAT.parse(FORMAT.write("", parsed.think, SCORES[parsed.sentiment]))
        assert (again.think, again.concepts, again.sentiment) == (parsed.think, parsed.concepts, parsed.sentiment)


names = st.sampled_from([tag for c in CH_CEMS for tag in (c.tag, *c.aliases)])
ends = st.sampled_from([f"<{slash}{tag}>" for c in CH_CEMS for tag in (c.tag, *c.aliases) for slash in ("", "/")])


@given(names, st.sampled_from(["happy", "casual", "Informational Interaction", "no label", ""]), st.booleans())
def test_a_mark_outside_the_reasoning_takes_its_value_away(tag, label, before):
    extra = f"<{tag}>{label}</{tag}>"
    parsed = FORMAT.parse(extra + GOOD if before else GOOD + extra)
    (concept,) = (c.name for c in CH_CEMS if tag in (c.tag, *c.aliases))
    assert dict(parsed.concepts) == {name: label for name, label in ALL.items() if name != concept}
    assert not parsed.well_formed and f"{concept} stands outside think" in parsed.notes
    assert parsed.sentiment == "Weakly Positive"


@given(st.data())
def test_two_marks_that_disagree_have_no_value_in_whatever_spelling(data):
    concept = data.draw(st.sampled_from(CH_CEMS))
    tags = [data.draw(st.sampled_from((concept.tag, *concept.aliases))) for _ in range(2)]
    labels = [data.draw(st.sampled_from(concept.labels.known)) for _ in range(2)]
    language = data.draw(st.sampled_from(["en", "zh"]))  # the second mark's
    rest = {name: label for name, label in ALL.items() if name != concept.name}
    both = [
        f"<{tag}>{label}</{tag}>".title() if data.draw(st.booleans()) and label.isascii() else f"<{tag}>{label}</{tag}>"
        for tag, label in zip(tags, (labels[0], concept.labels.write(labels[1], language)), strict=True)
    ]
    marks = data.draw(st.permutations([*both, *FORMAT.marks(rest)]))
    parsed = FORMAT.parse(f"<think>so {' '.join(marks)}</think><sentiment>neutral</sentiment>")
    agree = labels[0] == labels[1]
    assert dict(parsed.concepts) == rest | ({concept.name: labels[0]} if agree else {})
    assert parsed.well_formed == agree and (f"{concept.name} contradicts itself" in parsed.notes) != agree


@given(names, names, st.sampled_from([FACE, STYLE, TONE]))
def test_a_mark_inside_another_has_no_value(outer, inner, other):
    text = f"<think>{other} <{outer}> <{inner}>happy</{inner}> </{outer}></think><sentiment>neutral</sentiment>"
    parsed = FORMAT.parse(text)
    lost = {c.name for c in CH_CEMS if {outer, inner} & {c.tag, *c.aliases}}
    assert dict(parsed.concepts) == {
        k: v for k, v in dict(FORMAT.parse(f"<think>{other}</think>").concepts).items() if k not in lost
    }
    assert not parsed.well_formed


@given(ends, st.integers(0, len(THINK)))
def test_a_stray_end_of_a_mark_spoils_the_answer(tag, at):
    """An opening tag holds what follows; a closing one costs its own concept. The sentiment is not touched."""
    text = f"<think>{THINK[:at]}{tag}{THINK[at:]}</think>\n<sentiment>Weakly Positive</sentiment>"
    parsed = FORMAT.parse(text)
    if parsed.well_formed:  # it fell into another tag's spelling, or closed what it opened
        assert "<" in THINK[max(at - 25, 0) : at + 1]
    else:
        assert set(parsed.concepts) < set(ALL.items()) or "unknown" in str(parsed.notes) or parsed.think != THINK
    assert parsed.sentiment == "Weakly Positive"


def swap(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


TWO = {k: v for k, v in ALL.items() if k != "tone"}


@pytest.mark.parametrize(
    ("text", "sentiment", "concepts", "note"),
    [
        ("", None, {}, "think is absent"),
        ("Weakly Positive", None, {}, "sentiment is absent"),
        (GOOD + GOOD, None, {}, "sentiment is repeated"),
        (GOOD + GOOD, None, {}, "think is repeated"),
        (GOOD + "<sentiment>Neutral</sentiment>", None, ALL, "sentiment is repeated"),
        (swap("</think>", ""), "Weakly Positive", {}, "think is not closed"),
        (swap("</think>", ""), "Weakly Positive", {}, "tone stands outside think"),
        (swap("<think>", "<think><think>"), "Weakly Positive", {}, "think is repeated"),
        (swap("</sentiment>", ""), None, ALL, "sentiment is not closed"),
        (swap("Light", "<sentiment>Neutral</sentiment>"), None, ALL, "sentiment is repeated"),
        (f"<think>{THINK}<sentiment>Neutral</sentiment></think>", None, ALL, "sentiment stands inside think"),
        (f"<sentiment>Neutral</sentiment><think>{THINK}</think>", "Neutral", ALL, "tags are out of order"),
        (f"<sentiment><think>{THINK}</think>Neutral</sentiment>", None, ALL, "sentiment holds another tag"),
        (swap("Weakly Positive", "<tone>happy</tone>"), None, TWO, "sentiment holds another tag"),
        (swap(TONE, ""), "Weakly Positive", TWO, "tone is absent"),
        (swap("casual", "cheerful"), "Weakly Positive", TWO, "tone has an unknown label"),
        (swap("casual", "casual|happy"), "Weakly Positive", TWO, "tone has an unknown label"),
        (swap("casual", "casual, happy"), "Weakly Positive", TWO, "tone has an unknown label"),
        (swap("casual", ""), "Weakly Positive", TWO, "tone has an unknown label"),
        (swap("casual", "\uff43asual"), "Weakly Positive", TWO, "tone has an unknown label"),
        (swap("casual", "c" * 50_000), "Weakly Positive", TWO, "tone has an unknown label"),
        (swap(TONE, TONE + "<tone>nope</tone>"), "Weakly Positive", TWO, "tone has an unknown label"),
        (
            swap("</tone>", "</style>"),
            "Weakly Positive",
            {"expression": "happy"},
            "tone holds another tag, or is not closed",
        ),
        (
            swap("</facial_expression>", "</expression>"),
            "Weakly Positive",
            {"speaking_style": ALL["speaking_style"], "tone": "casual"},
            "expression holds another tag, or is not closed",
        ),
        (swap(FACE, "<facial_expression>"), "Weakly Positive", {}, "tone stands inside another tag"),
        (swap("Light", "<concept>light"), "Weakly Positive", TWO, "concept holds another tag, or is not closed"),
        (
            swap("Light", "<concept><tone>happy</tone></concept>"),
            "Weakly Positive",
            TWO,
            "tone stands inside another tag",
        ),
        (swap(FACE, "<concept>she</style>" + FACE), "Weakly Positive", {}, "expression stands inside another tag"),
        (swap(TONE, "<tone>nope</tone><tone>sad</tone>" + TONE), "Weakly Positive", TWO, "tone contradicts itself"),
        ("<think><concept></concept></think><sentiment>Neutral</sentiment>", "Neutral", {}, "think is empty"),
        ("Sure! " + GOOD, "Weakly Positive", ALL, "text stands outside the tags"),
        (GOOD + "\u200b", "Weakly Positive", ALL, "text stands outside the tags"),
        (swap("\n<sent", "so\n<sent"), "Weakly Positive", ALL, "text stands outside the tags"),
        (GOOD + "<concept>calm</concept>", "Weakly Positive", ALL, "concept stands outside think"),
        (GOOD + "\x00", "Weakly Positive", ALL, "a null byte or special token"),
        (swap("Light", "<|im_end|>"), "Weakly Positive", ALL, "a null byte or special token"),
        (
            swap("Weakly Positive", "Very Positive"),
            None,
            ALL,
            "sentiment is not one of Negative, Weakly Negative, Neutral, Weakly Positive, Positive",
        ),
        (swap("<tone>", "<tone >"), "Weakly Positive", TWO, "tone holds another tag, or is not closed"),
        (swap("<think>", "<thin\u212a>"), "Weakly Positive", {}, "think is not closed"),
    ],
)
def test_hostile_structure(text, sentiment, concepts, note):
    parsed = FORMAT.parse(text)
    assert (parsed.sentiment, dict(parsed.concepts)) == (sentiment, concepts)
    assert note in parsed.notes
    assert not parsed.well_formed


def test_spelling_aliases_and_languages_are_forgiven():
    text = (
        "\n<THINK> <Style> informational INTERACTION </Style><Expression>高兴</Expression><Tone>Casual</Tone>"
        "<concept> a shrug </concept><tone>随意</tone></Think> <Sentiment>\u3000弱积极\n</Sentiment>\n"
    )
    parsed = FORMAT.parse(text)
    assert parsed.well_formed and dict(parsed.concepts) == ALL
    assert (parsed.sentiment, parsed.polarity, parsed.free) == ("Weakly Positive", "Positive", ("a shrug",))
    assert list(ALL) == [name for name, _ in parsed.concepts]  # in the table's order


def test_three_classes_know_no_weak_ones():
    assert Concepts(3).parse(GOOD).sentiment is None
    assert Concepts(3).parse(swap("Weakly ", "")).sentiment == "Positive"
    assert ClassOnly(3).parse("Weakly Positive").sentiment is None


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "</",
        "<think",
        "<think>",
        "</think>",
        TONE,
        "<tone>",
        "</tone>",
        "<concept><concept>",
        "<tone><style>",
        "<sentiment>Positive",
        "\u0130<tone",
        "好",
        " ",
        "9",
        "\x00",
        "<|",
    ],
)
@pytest.mark.parametrize("wrap", ["{}", "<think>{}</think>", "<tone>{}</tone>", "<think>{}" + TONE + "</think>"])
def test_time_is_linear(unit, wrap):
    text = wrap.replace("{}", unit * (100_000 // len(unit)))

    def seconds():
        start = time.process_time()
        FORMAT.parse(text)
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.1


@pytest.mark.parametrize(
    "think",
    [
        "",
        "plain",
        THINK.replace(TONE, ""),
        THINK + "<tone>sad</tone>",
        THINK + "</think>",
        THINK + "<|im_end|>",
        f"<sentiment>Neutral</sentiment>{THINK}",
    ],
)
def test_unreadable_answers_are_not_written(think):
    with pytest.raises(InputError, match="cannot be written"):
        FORMAT.write("Positive", think, 0.4)


@given(truths, st.sampled_from(LEVELS), st.sets(st.sampled_from(list(ALL))))
def test_a_hint_begins_a_well_formed_answer(truth, level, unknown):
    truth = replace(truth, concepts=tuple(pair for pair in truth.concepts if pair[0] not in unknown))
    hint, example = FORMAT.hint(truth, level), FORMAT.example(truth, level)
    assert example.startswith(hint) and hint.endswith("\n")
    parsed = FORMAT.parse(example)
    assert parsed.well_formed and parsed.sentiment == truth.sentiment and set(truth.concepts) <= set(parsed.concepts)
    assert FORMAT.sentiments.write(truth.sentiment, truth.language) in hint
    given = dict(FORMAT.parse(hint + "</think>").concepts)
    assert given == (dict(truth.concepts) if level == LEVELS[1] else {})
    with pytest.raises(InputError, match="hint.levels: 'polarity'"):
        FORMAT.hint(truth, "polarity")


def test_the_instruction_echoed_earns_nothing_and_holds_all_labels():
    for format, language in itertools.product((FORMAT, ClassOnly(5)), ("en", "zh")):
        text = format.ask(MODALITIES, language)
        parsed = format.parse(text)
        assert (parsed.sentiment, parsed.concepts, parsed.well_formed) == (None, (), False)
        assert all(label in text for label in format.sentiments.spelled(language))
    for language in ("en", "zh"):
        text = FORMAT.ask(MODALITIES, language)
        assert all(label in text for c in CH_CEMS for label in c.labels.spelled(language))


def test_labels_that_are_spelled_alike_in_both_languages_count_as_english():
    labels = Labels({"en": ("OK", "bad"), "zh": ("OK", "坏")})
    format = Concepts(3, (Concept("state", "state", labels),))
    assert format.write("", "so <state>OK</state>", 0.9).endswith("<sentiment>Positive</sentiment>")
    assert format.write("", "so <state>坏</state>", 0.9).endswith("<sentiment>积极</sentiment>")


def test_a_bare_class_and_nothing_else():
    format = ClassOnly(5)
    assert format.write("", "not written", -0.4) == "Weakly Negative"
    for text, sentiment in ((" weakly NEGATIVE\n", "Weakly Negative"), ("弱消极", "Weakly Negative")):
        parsed = format.parse(text)
        assert (parsed.sentiment, parsed.polarity, parsed.well_formed) == (sentiment, "Negative", True)
    for text in ("", "Negative.", "it is Negative", "<sentiment>Negative</sentiment>", "N" * 100_000, "Negative\x00"):
        assert not format.parse(text).well_formed and format.parse(text).sentiment is None
    with pytest.raises(InputError, match="nothing to hint at"):
        format.hint(true("Neutral"), "sentiment")


def test_truth_is_what_the_table_knows():
    truth = FORMAT.truth(clip(0.2, [("scenario", "vlogs"), ("tone", "Happy"), ("expression", "")], "zh"))
    expected = true("Weakly Positive", (("tone", "happy"),), "zh")
    assert truth == replace(expected, signs=(("voice", "positive"),))
    assert Concepts(5, score_range=(-3.0, 3.0)).truth(clip(2.4)).sentiment == "Positive"
    assert FORMAT.truth(clip(None)) is None
    with pytest.raises(InputError, match="clip 'a': tone 'grim' is none of casual"):
        FORMAT.truth(clip(0.6, [("tone", "grim")]))
