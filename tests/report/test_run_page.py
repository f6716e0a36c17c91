"""The page of a run: every number that it shows, in one file that nothing gets out of."""

import json
import re

import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.report.cases import KINDS, choose_media, embedded, make_cases
from emsa_jax.report.plots import Bar, Series, curves, heat_map, intervals_plot, shares
from emsa_jax.report.run_content import Content, Result
from emsa_jax.report.run_files import CARD, read_card
from emsa_jax.report.run_page import run_page


@pytest.fixture(scope="module")
def content(run_content):
    return run_content()


def test_one_file_with_every_section(content, read_page):
    page = read_page(run_page(content))
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"results", "curves", "confusion", "across", "breakdowns", "reasoning", "time", "browse", "made"} <= ids
    shown = content.results[1].found
    low, high = shown["intervals"]["Polarity_acc"]
    assert f"{shown['metrics']['Polarity_acc']:.3f}" in page.text("td")
    assert f"{low:.3f} to {high:.3f}" in page.text("small")
    for floor in ("mean of train", "random from train", "shuffled labels"):
        assert floor in page.text("th")
    assert "A note." in page.text() and "hint" in page.text("caption")
    assert 'http-equiv="refresh"' not in page.html and 'id="live"' not in page.html


def test_every_plot_has_axes_units_and_a_legend(content, read_page):
    html = run_page(content).decode()
    drawings = re.findall(r"<svg.*?</svg>", html, re.S)
    assert len(drawings) > 20
    for drawing in drawings:
        assert drawing.count("<text") >= 5 and 'class="title"' in drawing
        assert 'class="axis"' in drawing or 'class="cell"' in drawing
    (reward,) = [d for d in drawings if 'aria-label="Reward, mean' in d]
    assert "reward (before hints)" in reward and "reward_train (after)" in reward and ">GRPO step<" in reward
    assert "&gt;" not in reward and ">mean of all answers<" in reward


def test_cases_travel_as_data(content, read_page):
    page = read_page(run_page(content))
    (data,) = re.findall(r'<script type="application/json" id="cases">(.*?)</script>', page.html, re.S)
    cases = json.loads(data)
    assert cases == json.loads(json.dumps(content.cases)) and len(cases) == 40
    assert cases[0]["answers"][1]["text"].startswith("</script>") and "<" not in data
    media = re.findall(r'<script type="application/json" id="media-(\d+)">', page.html)
    assert len(media) == 4 == sum("has media" in case["kinds"] for case in cases)


def test_what_a_case_is_called():
    row = {
        "text": "w",
        "target": 1.0,
        "target_polarity": "Positive",
        "score": 1.0,
        "answer": "x",
        "rewards": {"total": 2.0},
    }
    before = [
        row | {"id": i, "polarity": p, "about": {"hardness": h}}
        for i, p, h in (
            ("a", "Negative", "hard"),
            ("b", "Positive", "easy"),
            ("c", None, "hard"),
            ("d", "Positive", "mixed"),
            ("e", "Positive", "hard"),
        )
    ]
    after = [
        row | {"id": one["id"], "polarity": p, "about": one["about"]}
        for one, p in zip(before, ("Positive", "Negative", None, "Positive", "Positive"), strict=True)
    ]
    claims = {"stated": [["face", "negative"]], "owed": [["face", "positive"]], "not_shown": []}
    after[3]["claims"] = claims
    kinds = {case["id"]: set(case["kinds"]) for case in make_cases("d", {"sft": before, "rl": after}, "sft", "rl")}
    assert kinds == {
        "a": {"right", "fixed", "hard", "rescued"},
        "b": {"wrong", "broken"},
        "c": {"wrong", "hard", "unparsed"},
        "d": {"right", "false claim"},
        "e": {"right", "hard"},  # it was right before: nothing was put right
    }
    assert set().union(*kinds.values()) < set(KINDS)
    unlabelled = row | {"id": "g", "target": None, "target_polarity": None, "polarity": "Positive", "about": {}}
    (case,) = make_cases("d", {"rl": [unlabelled]}, "rl", "rl")
    assert case["kinds"] == [] and case["told"] == "unlabelled" and case["answers"][0]["right"] is None
    classes = {"id": "f", "text": "w", "target": None, "label": "sad", "target_label": "sad"}
    (case,) = make_cases("d", {"theirs": [classes]}, "theirs", "theirs")
    assert case["kinds"] == ["right"] and case["answers"][0]["text"] is None


def test_claims_are_shown_against_what_is_known(read_page):
    def found(clips, f1):
        held = {"clips": clips, "f1": f1, "no_false": f1, "contradicting": {"clips": clips // 2, "named": f1}}
        reasoning = {"mentions": {}, "concepts": {}}
        return {"reasoning": reasoning, "claims": held | {"intervals": {"f1": (0.125, 0.875)} if f1 else {}}}

    results = [Result("rl", "known", found(8, 0.625)), Result("rl", "unknown", found(0, None))]
    page = read_page(run_page(Content("t", "Lead.", {}, results)))
    assert "What is claimed, known: something is known of 8 clips, 4 of them contradicting" in page.text("caption")
    assert "0.625" in page.text("td") and "0.125 to 0.875" in page.text("small")
    assert page.text("td").count("nothing claimed") == 0
    silent = found(8, 0.0) | {"claims": {"clips": 8, "claiming": 0, "f1": 0.0, "no_false": 1.0, "contradicts": 0.0}}
    assert (
        read_page(run_page(Content("t", "Lead.", {}, [Result("rl", "known", silent)])))
        .text("td")
        .count("nothing claimed")
        == 2
    )
    assert "Of the clips of unknown nothing is known" in page.text()
    assert "Of the clips of known" not in page.text()


def test_cards_stand_side_by_side(read_page, tmp_path):
    line = {"name": "face swapped: its clause follows", "clips": 9, "means": "it comes from the clip"}
    cards = {
        "a": [line | {"value": 0.625, "interval": [0.5, 0.75]}],
        "b": [line | {"value": None, "interval": None}, line | {"name": "filler", "value": 0.1875, "interval": None}],
    }
    page = read_page(run_page(Content("t", "Lead.", {}, [], cards=cards)))
    assert {"faithful"} <= {attributes.get("id") for _, attributes in page.tags}
    assert "0.625" in page.text("td") and "0.500 to 0.750" in page.text("small") and "0.188" in page.text("td")
    assert page.text("td").count("it comes from the clip") == 2
    assert read_card(tmp_path) == []
    (tmp_path / CARD).parent.mkdir(parents=True)
    (tmp_path / CARD).write_text(json.dumps({"lines": cards["a"]}))
    assert read_card(tmp_path) == cards["a"]
    (tmp_path / CARD).write_text('{"lines": 3}')
    with pytest.raises(InputError, match="card.json is damaged"):
        read_card(tmp_path)


def test_media_go_to_what_changed_and_then_everywhere():
    cases = [{"data": "d", "id": i, "kinds": ["fixed"] if i in (50, 51) else ["right"]} for i in range(100)]
    chosen = choose_media(cases, 10)
    assert len(chosen) == len(set(chosen)) == 10 and {("d", 50), ("d", 51)} <= set(chosen)
    assert max(id for _, id in chosen) == 99 and choose_media(cases[:3], 10) == [("d", 0), ("d", 1), ("d", 2)]
    assert choose_media([], 10) == []


def test_data_cannot_end_its_block():
    value = {"a": "</script><!--\u2028\u2029&", "b": "\ud800"}
    block = str(embedded("x", value))
    assert block.count("<") == 2 and "--\u2028" not in block
    assert json.loads(re.search(r">(.*)<", block).group(1))["a"] == value["a"]
    assert ">[null,1.5]<" in str(embedded("x", [float("nan"), 1.5]))


def test_an_unfinished_run_has_a_page(read_page):
    page = read_page(run_page(Content("t", "Nothing yet.", {"mine": []}, [], live=15)))
    assert page.text("h1") == "t" and page.all("div")[0]["data-seconds"] == "15" and not page.all("section")[1:]
    assert "Pause refreshing" in page.text("button")


def test_warnings_stand_above_all_sections(read_page):
    lines = ["grpo: no step taught anything: <b>why</b>", "sft: 3 updates were not taken"]
    page = read_page(run_page(Content("t", "Nothing yet.", {"mine": []}, [], warnings=lines)))
    (banner,) = [one for one in page.all("div") if one.get("class") == "warnings"]
    assert banner["role"] == "note" and not page.all("b")
    assert all(line in page.text("li") for line in lines)
    assert not [one for one in read_page(run_page(Content("t", "", {}, []))).all("div") if one.get("class")]


def test_a_page_of_several_runs(run_content, read_page):
    page = read_page(run_page(run_content(runs=("off", "hint"))))
    drawn = [one["aria-label"] for one in page.all("svg")]
    (reward,) = [one for one in drawn if one.startswith("Reward:")]
    assert "off:" in reward and "hint:" in reward


def test_curves_are_where_their_numbers_say():
    drawing = str(curves("t", "u", [Series("s", [0, 10], [1.0, 3.0])], smooth=False))
    (*_, drawn) = re.findall(r'class="curve c1 d0" points="([^"]+)"', drawing)
    (x0, y0), (x1, y1) = (tuple(map(float, point.split(","))) for point in drawn.split())
    assert x0 == 56 and x1 == 420 - 12 and y0 > y1 == pytest.approx(28 + 4 + 16, abs=0.1) and y0 == 250 - 40
    assert "1 at first, 3 at last" in drawing
    assert curves("t", "u", [Series("s", [1], [None])]) is None
    assert "nan" not in str(curves("t", "u", [Series("s", [1, 2, 3], [5.0, None, 5.0])]))
    small = str(curves("t", "u", [Series("s", [0, 1], [0.0, 1.5e-5])]))
    assert ">1.5e-5<" in small and ">5e-6<" in small and ">0<" in small
    long = curves("t", "u", [Series("s", range(5000), np.sin(np.arange(5000)).tolist())])
    assert len(str(long)) < 12000


def test_other_plots():
    dots = str(intervals_plot("t", "u", [Bar("a", 0.5, (0.4, 0.6)), Bar("floor", 0.3, None, True)], 0, 1))
    assert dots.count("<circle") == 2 and dots.count('class="whisker') == 1 and "floor: saw no clip" in dots
    assert intervals_plot("t", "u", []) is None
    drawn = heat_map(
        "t",
        rows=["r"],
        columns=["c", "d"],
        cells=[[1, None]],
        shades=[[1.0, 0.0]],
        down="truth",
        across="answer",
        legend="clips",
    )
    grid = str(drawn)
    assert grid.count("<rect") == 2 and ">1<" in grid and ">-<" in grid
    parts = str(shares("t", "s", {"update": 3.0, "decode": 1.0, "none": 0.0}))
    assert "update 3 s (75%)" in parts and "none" not in parts and shares("t", "s", {}) is None
