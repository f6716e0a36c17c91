"""The DC format: what is written comes back, and hostile text has the stated result, in linear time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.answers.answer_format import Answer, Truth
from emsa_jax.answers.dc import DC
from emsa_jax.answers.labels import POLARITIES
from emsa_jax.data.views import MODALITIES
from emsa_jax.errors import InputError

FORMAT = DC((-3.0, 3.0))
GOOD = "<polarity>Positive</polarity>\n<think>She smiles.</think>\n<score>0.6</score>"

thoughts = (
    st.text(max_size=80)
    .map(str.strip)
    .filter(lambda t: any(c.isascii() and c.isalnum() for c in t) and "<" not in t and "\x00" not in t)
)


@given(st.sampled_from(POLARITIES), thoughts, st.integers(-300, 300).map(lambda n: n / 100))
def test_what_is_written_is_read(polarity, think, score):
    assert FORMAT.parse(FORMAT.write(polarity, think, score)) == Answer(polarity=polarity, think=think, score=score)


pieces = st.sampled_from(
    [
        "<polarity>",
        "</polarity>",
        "<think>",
        "</think>",
        "<score>",
        "</score>",
        "<Score>",
        "<score",
        "<",
        ">",
        "/",
        "Positive",
        "Negative",
        "0.5",
        "-9",
        "nan",
        "1e999",
        "\x00",
        "<|im_end|>",
        " ",
        "\n",
        "好",
        "\ud800",
        "words",
    ]
)


@settings(max_examples=500)
@given(st.one_of(st.text(), st.lists(pieces, max_size=30).map("".join)))
def test_parse_never_raises_and_keeps_its_word(text):
    parsed = FORMAT.parse(text)
    assert parsed.well_formed == (not parsed.notes)
    assert parsed.polarity in (None, *POLARITIES)
    assert parsed.score is None or -3 <= parsed.score <= 3
    if parsed.well_formed:  # then it is an answer as one would write it, spelling and white space apart
        assert None not in (parsed.polarity, parsed.think, parsed.score)
        again = FORMAT.parse(FORMAT.write(parsed.polarity, parsed.think, round(parsed.score, 2)))
        assert (again.polarity, again.think) == (parsed.polarity, parsed.think)


def test_case_and_white_space_are_forgiven():
    text = " \n<POLARITY> positive </Polarity><Think>\nyes\n</THINK>\u3000<score>\t+0.60 </score>\n"
    assert FORMAT.parse(text) == Answer(polarity="Positive", think="yes", score=0.6)


def swap(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "polarity", "think", "score", "note"),
    [
        ("", None, None, None, "polarity is absent"),
        ("Positive 0.6", None, None, None, "score is absent"),
        (GOOD + GOOD, None, None, None, "polarity is repeated"),
        (GOOD + "<polarity>Negative</polarity>", None, "She smiles.", 0.6, "polarity is repeated"),
        (GOOD + "\n<score>0.6</score>", "Positive", "She smiles.", None, "score is repeated"),
        (GOOD + "<score>", "Positive", "She smiles.", None, "score is repeated"),
        (swap("smiles", "<score>1</score>"), "Positive", None, None, "think holds another tag"),
        (swap("smiles", "<polarity>"), None, None, 0.6, "polarity is repeated"),
        (swap("smiles", "<think>deep</think>"), "Positive", None, 0.6, "think is repeated"),
        (swap("</think>", ""), "Positive", None, 0.6, "think is not closed"),
        (swap("</score>", ""), "Positive", "She smiles.", None, "score is not closed"),
        (
            swap("<score>", "</score>").replace("6</score>", "6<score>"),
            "Positive",
            "She smiles.",
            None,
            "score is not closed",
        ),
        (
            "<score>0.6</score><think>ok</think><polarity>Positive</polarity>",
            "Positive",
            "ok",
            0.6,
            "tags are out of order",
        ),
        (
            "<polarity>Positive<think>a</polarity>b</think><score>1</score>",
            None,
            None,
            1.0,
            "polarity holds another tag",
        ),
        ("Sure! " + GOOD, "Positive", "She smiles.", 0.6, "text stands outside the tags"),
        (GOOD + "!", "Positive", "She smiles.", 0.6, "text stands outside the tags"),
        (GOOD + "\u200b", "Positive", "She smiles.", 0.6, "text stands outside the tags"),
        (swap("\n<think>", "\nso <think>"), "Positive", "She smiles.", 0.6, "text stands outside the tags"),
        (swap("She smiles.", ""), "Positive", None, 0.6, "think is empty"),
        (swap("She smiles.", " \n\u200b\u3164 ... "), "Positive", None, 0.6, "think is empty"),
        (GOOD + "\x00", "Positive", "She smiles.", 0.6, "a null byte or special token"),
        (swap("smiles", "<|im_end|>"), "Positive", "She <|im_end|>.", 0.6, "a null byte or special token"),
        (swap("<score>", "<score >"), "Positive", "She smiles.", None, "score is not closed"),
        (swap("<score>", "<\u017fcore>"), "Positive", "She smiles.", None, "score is not closed"),
        (swap("<think>", "<thin\u212a>"), "Positive", None, 0.6, "think is not closed"),
        (swap("<score>", "&lt;score&gt;"), "Positive", "She smiles.", None, "score is not closed"),
    ],
)
def test_hostile_structure(text, polarity, think, score, note):
    parsed = FORMAT.parse(text)
    assert (parsed.polarity, parsed.think, parsed.score) == (polarity, think, score)
    assert note in parsed.notes
    assert not parsed.well_formed


@pytest.mark.parametrize(
    "label",
    [
        "",
        "Happy",
        "积极",
        "Positive Negative",
        "Positive|Neutral|Negative",
        "Pos",
        "\uff30ositive",
        "POS\u0130TIVE",
        "Pos itive",
        "Positive.",
        "Weakly Positive",
        "1",
    ],
)
def test_other_labels_are_no_polarity(label):
    parsed = FORMAT.parse(swap(">Positive<", f">{label}<"))
    assert (parsed.polarity, parsed.score, parsed.well_formed) == (None, 0.6, False)


@pytest.mark.parametrize(
    "number",
    [
        "",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "Infinity",
        "1e999",
        "1e0",
        "6e-1",
        "0x1",
        "1_0",
        "0.6.1",
        ".6",
        "6.",
        "--1",
        "+-1",
        "+",
        "-",
        ".",
        "- 1",
        "0,6",
        "1/2",
        "60%",
        "\uff10.\uff16",
        "\u0660",
        "\u00b2",
        "\u22121",
        "0.6 0.7",
        "about 1",
        "1j",
        "True",
        "0" * 17,
        "9" * 5000,
        "0.6\x00",
    ],
)
def test_other_spellings_are_no_score(number):
    parsed = FORMAT.parse(swap("0.6", number))
    assert (parsed.polarity, parsed.score, parsed.well_formed) == ("Positive", None, False)
    assert "score is not a plain decimal" in parsed.notes


@pytest.mark.parametrize("number", ["3.1", "-3.01", "100", "-9999999999"])
def test_scores_out_of_range_are_no_score(number):
    parsed = FORMAT.parse(swap("0.6", number))
    assert (parsed.score, parsed.notes) == (None, ("score is out of range",))


@pytest.mark.parametrize(("number", "score"), [("3", 3.0), ("-3.0", -3.0), ("+1", 1.0), ("00.5", 0.5), ("-0.0", 0.0)])
def test_plain_decimals_are_scores(number, score):
    parsed = FORMAT.parse(swap("0.6", number))
    assert parsed.well_formed
    assert str(parsed.score) == str(score)  # -0.0 too


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "</",
        "<think",
        "<think>",
        "</think>",
        "<think></think>",
        "<score>1</score>",
        "<polarity>Positive",
        "<POLARITY><",
        "\u0130<think",
        "好",
        " ",
        "9",
        "\x00",
        "<|",
    ],
)
@pytest.mark.parametrize("wrap", ["{}", "<think>{}</think>", "<score>{}</score>", "<polarity>{}", GOOD + "{}"])
def test_time_is_linear(unit, wrap):
    text = wrap.replace("{}", unit * (100_000 // len(unit)))

    def seconds():
        start = time.process_time()
        FORMAT.parse(text)
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.05


@pytest.mark.parametrize(
    ("polarity", "think", "score"),
    [
        ("positive", "ok", 0),
        ("Good", "ok", 0),
        ("Positive", " ", 1),
        ("Positive", "a <score> b", 1),
        ("Positive", "</think>", 1),
        ("Positive", "<|im_end|>", 1),
        ("Positive", "ok", 3.2),
    ],
)
def test_unreadable_answers_are_not_written(polarity, think, score):
    with pytest.raises(InputError):
        FORMAT.write(polarity, think, score)


def test_the_hint_begins_the_answer():
    for polarity in POLARITIES:
        hint = FORMAT.hint(Truth(polarity=polarity, score=0.0), "polarity")
        assert FORMAT.write(polarity, "because", 0.0).startswith(hint + "<think>")
    with pytest.raises(InputError, match="hint.levels: 'sentiment' is none of polarity"):
        FORMAT.hint(Truth(polarity="Neutral", score=0.0), "sentiment")


def test_the_instruction_echoed_earns_nothing():
    for language in ("en", "zh"):
        parsed = FORMAT.parse(FORMAT.ask(MODALITIES, language))
        assert (parsed.polarity, parsed.score, parsed.well_formed) == (None, None, False)
