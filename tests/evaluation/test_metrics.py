"""The metrics as a command: its JSON, unparsed answers, bad files; numbers as scikit-learn and SciPy have them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from emsa_jax.evaluation.metrics import main

FIXTURES = Path(__file__).parents[1] / "fixtures"
ARRAYS = dict(np.load(FIXTURES / "metrics.npz"))
EXPECTED = json.loads((FIXTURES / "metrics.json").read_text())
SCORES = (
    "has0_acc2 has0_f1 non0_acc2 non0_f1 acc2 f1 acc3 acc5 acc7 acc2_weak f1_macro mae corr r2 parse_rate n"
).split()
LABELS = "ACC WF1 WP F1 R P UAR WAR confusion parse_rate n".split()
NAMES = {
    "Has0_acc_2": "has0_acc2",
    "Has0_F1_score": "has0_f1",
    "Non0_acc_2": "non0_acc2",
    "Non0_F1_score": "non0_f1",
    "Mult_acc_2": "acc2",
    "F1_score": "f1",
    "Mult_acc_3": "acc3",
    "Mult_acc_5": "acc5",
    "Mult_acc_7": "acc7",
    "Mult_acc_2_weak": "acc2_weak",
    "MAE": "mae",
    "Corr": "corr",
}


@pytest.fixture
def score(tmp_path, capsys):
    """score(family, true, pred, *flags) -> what the command prints; cells are written as given."""

    def run(family, true, pred, *flags):
        path = tmp_path / "scores.csv"
        rows = [f"{t},{'' if p is None else p}\n" for t, p in zip(true, pred, strict=True)]
        path.write_text("true,pred\n" + "".join(rows))
        status = main([f"--family={family}", str(path), *flags])
        out, err = capsys.readouterr()
        assert status == 0, err
        return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    return run


def test_a_module_that_can_be_called(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,pred,true\na,0.5,1\nb,,-1\n")
    done = subprocess.run(
        [sys.executable, "-m", "emsa_jax.evaluation.metrics", "--family=sims", str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and list(json.loads(done.stdout)) == SCORES and done.stdout.count("\n") == 1


@pytest.mark.parametrize("case", EXPECTED["regression"])
def test_scores_equal_the_reference(score, case):
    family = case.split("/")[0]
    ours = score(family, map(repr, ARRAYS[f"reg/{case}/true"].tolist()), map(repr, ARRAYS[f"reg/{case}/pred"].tolist()))
    assert list(ours) == SCORES
    for source, tolerance in (("mmsa", 5e-5 + 1e-9), ("simsv2", 1e-6)):
        for key, value in EXPECTED["regression"][case].get(source, {}).items():
            if key in NAMES:
                assert ours[NAMES[key]] == (value if value is None else pytest.approx(value, abs=tolerance)), key
    absent = {"mosi": ("acc2", "f1", "acc2_weak"), "sims": ("acc7",)}[family]
    assert all(ours[name] is None for name in absent)
    if family == "sims":
        assert (ours["has0_acc2"], ours["has0_f1"]) == (ours["acc2"], ours["f1"])


@pytest.mark.parametrize("case", EXPECTED["labels"])
def test_classes_equal_the_reference(score, case):
    true, pred = ARRAYS[f"lab/{case}/true"].tolist(), ARRAYS[f"lab/{case}/pred"].tolist()
    ours = score(f"labels{case[0]}", true, pred)
    assert list(ours) == LABELS
    for key, value in EXPECTED["labels"][case].items():
        if key in ours:
            assert ours[key] == pytest.approx(value, abs=1e-9), key
    labels = [*range(int(case[0])), *([-1] if -1 in pred else [])]
    assert ours["confusion"] == sk.confusion_matrix(true, pred, labels=labels).tolist()


def test_scores_agree_with_scikit_learn_and_scipy(score):
    rng = np.random.default_rng(5)
    true = np.round(rng.uniform(-1, 1, 300), 1).astype(np.float32)
    pred = np.clip(true + rng.normal(0, 0.4, 300), -1, 1).astype(np.float32)
    ours = score("sims", map(repr, true.tolist()), map(repr, pred.tolist()))
    t, p = true > 0, pred > 0
    expected = {
        "acc2": sk.accuracy_score(t, p),
        "f1": sk.f1_score(t, p, average="weighted"),
        "f1_macro": sk.f1_score(t, p, average="macro"),
        "mae": sk.mean_absolute_error(true, pred),
        "corr": stats.pearsonr(true, pred)[0],
        "r2": sk.r2_score(true, pred),
        "n": 300,
        "parse_rate": 1,
    }
    assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    mosi, some = score("mosi", map(repr, true.tolist()), map(repr, pred.tolist())), true != 0
    assert mosi["f1_macro"] == pytest.approx(sk.f1_score(t[some], p[some], average="macro"), abs=1e-9)
    assert mosi["has0_f1"] == pytest.approx(sk.f1_score(true >= 0, pred >= 0, average="weighted"), abs=1e-9)


def test_an_unparsed_answer_stays_in_every_denominator(score):
    """Each figure moves when one right answer of four is no longer readable, and n does not."""
    true, pred = [-1, -0.5, 0.5, 1], [-1, -0.5, 0.5, 1]
    whole, torn = score("sims", true, pred), score("sims", true, [-1, -0.5, 0.5, None])
    assert torn["n"] == whole["n"] == 4 and torn["parse_rate"] == 0.75
    assert torn["acc2"] == torn["acc3"] == torn["acc5"] == torn["non0_acc2"] == 0.75
    assert torn["mae"] == 0.5 and torn["corr"] == pytest.approx(1)  # counted as -1.0; Corr is over what was read
    neutral = score("sims", true, [-1, -0.5, 0.5, None], "--fallback=neutral")
    assert neutral["mae"] == 0.25 and neutral["corr"] == torn["corr"]
    assert score("sims", true, [-1, -0.5, 0.5, "nan"]) == torn
    assert score("sims", true, pred[:3] + [-1])["parse_rate"] == 1  # -1 is a score
    labels = score("labels3", [0, 1, 2, 2], [0, 1, 2, -1])
    assert labels == score("labels3", [0, 1, 2, 2], [0, 1, 2, None])
    assert labels["ACC"] == 0.75 and labels["R"] == pytest.approx(2.5 / 3) and labels["P"] == 1
    assert sum(map(sum, labels["confusion"])) == labels["n"] == 4 and labels["parse_rate"] == 0.75
    assert score("labels3", [0, 1], [-1, -1])["ACC"] == 0


def test_undefined_is_null(score):
    zeros = score("mosi", [0, 0], [1, -1])
    assert zeros["non0_acc2"] is zeros["non0_f1"] is zeros["f1_macro"] is zeros["corr"] is zeros["r2"] is None
    assert score("sims", [1, -1], [0.5, 0.5])["corr"] is None
    assert score("sims", [0.5, 1], [0.5, 1])["acc2_weak"] is None
    assert {name for name, value in score("sims", [], []).items() if value is not None} == {"n"}
    empty = score("labels5", [], [])
    assert empty["ACC"] is empty["parse_rate"] is None and empty["n"] == 0


def test_values_are_float32(score):
    """0.1 and -0.7 as float32 belong to the class that float64 would put them outside of."""
    assert score("sims", [0.1, -0.7], [0.05, -0.8])["acc5"] == 1
    assert score("sims", [0.4, -0.4], [0.1, -0.1])["acc2_weak"] == 1


@pytest.mark.parametrize(
    "family, text, message",
    [
        ("sims", "true,guess\n1,1\n", "pred"),
        ("sims", "true,pred\n1,high\n", "line 2: pred 'high' is no number"),
        ("sims", "true,pred\n1,1\n,1\n", "line 3: true is ''"),
        ("sims", "true,pred\n1,inf\n", "not finite"),
        ("mosi", "true,pred\nnan,1\n", "needs its true value"),
        ("labels3", "true,pred\n0,3\n", "is no class"),
        ("labels3", "true,pred\n0,Positive\n", "is no index from 0 to 2"),
        ("sims", f"true,pred\n1,{'9' * 5000}\n", "not finite"),
        ("mosi", "true,pred\n1,1e39\n", "not finite"),
        ("labels3", "true,pred\n-1,0\n", "needs its true value"),
        ("labels5", "true,pred\n0,1.5\n", "is no class"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, capsys, family, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main([f"--family={family}", str(path)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and err.count("\n") == 1 and message in err and len(err) < 300


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--family=mosei", "x.csv"], "invalid choice: 'mosei'"),
        (["--family=sims"], "required: file"),
        (["--family=sims", "x.csv", "--resamples=0"], "--resamples must be at least 1"),
        (["--family=sims", "x.csv", "--resamples=x"], "invalid int value"),
        (["--family=labels3", "x.csv", "--f1=macro"], "--f1=macro is for scores"),
    ],
)
def test_bad_arguments_are_one_line(capsys, arguments, message):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_scores_beyond_the_range_are_clipped_on_both_sides(score):
    found = score("sims", [2, -3, 0.5], [1, -1, 0.5])
    assert found["mae"] == 0 and found["r2"] == 1 and score("mosi", [2, -3], [3, -3])["mae"] == 0.5


def test_controls_are_those_of_the_answers(score):
    """Shuffled: the answers at hand, none of which could be read here."""
    found = score("sims", [1, -1] * 20, [""] * 40, "--controls")["controls"]
    assert found["shuffled"]["parse_rate"] == 0 and found["random"]["parse_rate"] == 1


def test_more_on_request(score, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("true,pred\n" + "1,-1\n-1,-1\n" * 20)
    asked = score(
        "sims", [1, -1] * 20, [0.9, -0.9] * 20, "--intervals", "--controls", f"--against={other}", "--resamples=200"
    )
    assert asked["intervals"]["acc2"] == [1, 1] and asked["controls"].keys() == {"constant", "random", "shuffled"}
    assert asked["against"]["acc2"]["difference"] == 0.5 and asked["against"]["acc2"]["p"] < 0.01
    other.write_text("true,pred\n1,1\n")
    assert main(["--family=sims", str(tmp_path / "scores.csv"), f"--against={other}"]) == 2
