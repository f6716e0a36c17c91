"""What the comparison with recorded outputs says of cases that it does not know, skips, or cannot compare."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "parity_parts.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("parity_parts", SCRIPT)
    module = sys.modules["parity_parts"] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:  # the script's own directory, as when it is run
        patch.syspath_prepend(str(SCRIPT.parent))
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(script, tmp_path, monkeypatch, capsys):
    """(cases, arguments) -> (exit code, lines)."""

    def run(cases, *arguments):
        index = {"cases": {name: {"tolerance": 1e-5, "notes": {}} for name in cases}}
        (tmp_path / "index.json").write_text(json.dumps(index))
        monkeypatch.setattr(sys, "argv", ["parity_parts", "--oracle", str(tmp_path), *arguments])
        code = script.main()
        return code, capsys.readouterr().out.splitlines()

    return run


def test_a_case_that_is_not_known_fails(run):
    code, lines = run(["next_year", "minilm_real"])
    assert code == 1 and lines[-1] == "1 comparisons, 1 failed"
    assert any("next_year" in line and "not known" in line and "FAILED" in line for line in lines)
    assert lines[-2] == "skipped, since --minilm is not given: minilm_real"
    code, lines = run(["next_year", "minilm_real"], "--only=minilm_real,text")
    assert code == 0 and lines[-1] == "0 comparisons, 0 failed"
    assert run(["next_year", "minilm_real"], "--only=minilm_real", "--minilm=/nowhere")[0] == 1


def test_what_is_not_there_is_named(run, tmp_path):
    code, lines = run(["text_qwen2", "clip"], "--only=text")
    assert code == 1 and any("text_qwen2" in line and "FileNotFoundError" in line for line in lines)
    assert run(["clip"], "--only=bert") == (1, ["error: --only=bert: no case begins so; there are clip"])


def test_an_output_that_is_off_or_that_nothing_reads_fails(script, tmp_path, monkeypatch):
    np.savez(tmp_path / "goldens.npz", a=np.array([1.0, 100.0]), b=np.zeros(2))
    ours = {"value": np.array([1.0, 100.0])}
    monkeypatch.setitem(script.KNOWN, "made", lambda golden: [script.Compared("a", ours["value"], golden["a"])])
    index = {"tolerance": 1e-3, "notes": {}}

    def failed():
        return [result.what for result in script.run_case("made", tmp_path, index) if result.failed]

    assert failed() == ["b"]
    ours["value"] = np.array([1.0, 100.09])  # the limit is 1e-3 times the largest golden
    assert failed() == ["b"]
    for wrong in ([1.0, 100.2], [np.nan, 100.0], [1.0]):
        ours["value"] = np.array(wrong)
        assert failed() == ["a", "b"]
