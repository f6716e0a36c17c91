import json
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from emsa_jax.config.fields import option
from emsa_jax.errors import InputError
from emsa_jax.runtime import run as run_module
from emsa_jax.runtime.run import open_run
from emsa_jax.runtime.versions import versions


@dataclass(frozen=True)
class Loss:
    beta: float = 0.04


@dataclass(frozen=True)
class Config:
    steps: int = 10
    log_every: int = option(1, "steps between lines", affects_results=False)
    score_range: tuple[float, float] = (-1.0, 1.0)
    loss: Loss = Loss()


def test_record_of_a_new_run(tmp_path):
    with open_run(tmp_path / "a" / "b", Config()) as run:
        assert run.config == json.loads(run.path("config.json").read_text())
        assert run.config["loss"] == {"beta": 0.04}
        (found,) = json.loads(run.path("versions.json").read_text())
    assert {"python", "jax", "jaxlib", "numpy", "cpus", "platform", "git"} <= found.keys()
    assert found["cpus"] >= 1


def test_the_same_config_goes_on_quietly(tmp_path, capsys):
    open_run(tmp_path, Config()).close()
    open_run(tmp_path, Config()).close()
    assert capsys.readouterr().out == ""
    assert len(json.loads((tmp_path / "versions.json").read_text())) == 1


@pytest.mark.parametrize(
    "other, message",
    [
        (Config(steps=11), r"config\.steps = 10, not 11"),
        (Config(loss=Loss(0.1)), r"config\.loss\.beta = 0\.04, not 0\.1"),
        (Config(score_range=(-3.0, 3.0)), r"config\.score_range = \[-1\.0, 1\.0\], not \[-3"),
        (Loss(), r"config\.beta = 'absent', not 0\.04"),
    ],
)
def test_another_config_is_refused(tmp_path, other, message):
    open_run(tmp_path, Config()).close()
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(InputError, match=message):
        open_run(tmp_path, other)
    assert (tmp_path / "config.json").read_bytes() == before
    open_run(tmp_path, Config()).close()  # the refused start holds no lock


def test_ignored_fields_may_differ(tmp_path):
    open_run(tmp_path, Config()).close()
    open_run(tmp_path, replace(Config(), log_every=5)).close()
    assert json.loads((tmp_path / "config.json").read_text())["log_every"] == 5


def test_a_run_of_before_is_compared_in_the_fields_of_today_and_kept_as_it_is(tmp_path):
    open_run(tmp_path, Config()).close()
    old = {"step_count": 10, "log_every": 1, "gone": True}
    (tmp_path / "config.json").write_text(json.dumps(old))
    open_run(tmp_path, Config(), lambda config: {"steps": config["step_count"]}).close()
    assert json.loads((tmp_path / "config.json").read_text()) == old
    with pytest.raises(InputError, match=r"config\.steps = 10, not 11"):
        open_run(tmp_path, Config(steps=11), lambda config: {"steps": config["step_count"]})


def test_other_software_is_one_warning(tmp_path, capsys, monkeypatch):
    open_run(tmp_path, Config()).close()
    monkeypatch.setattr(run_module, "versions", lambda: versions() | {"cpus": 77})
    open_run(tmp_path, Config()).close()
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "-> 77" in out
    assert len(json.loads((tmp_path / "versions.json").read_text())) == 2


def test_two_runs_in_one_directory(tmp_path):
    program = (
        "import sys; from emsa_jax.runtime.run import open_run; from emsa_jax.errors import InputError\n"
        "try: open_run(sys.argv[1], {})\n"
        "except InputError as error: print(error)"
    )

    def elsewhere():
        command = [sys.executable, "-c", program, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True).stdout

    with open_run(tmp_path, {}):
        assert "another run is at work" in elsewhere()
        with pytest.raises(InputError, match="another run"):
            open_run(tmp_path, {})
    assert elsewhere() == ""


def test_bad_directories(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot use"):
        open_run(tmp_path / "file", Config())
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        open_run(tmp_path, Config())


@pytest.mark.parametrize("name", ["config.json", "stages.json", "versions.json"])
@pytest.mark.parametrize("content", ["5", "[5]", '{"sft": 5}', '{"sft": {"inputs": "d", "outputs": []}}', "[[]]"])
def test_files_that_somebody_changed_end_in_one_line(tmp_path, name, content):
    open_run(tmp_path, Config()).close()
    (tmp_path / name).write_text(content)
    with (
        pytest.raises(InputError, match=rf"{name.replace('.', '[.]')} is damaged \(|config\.\w+"),
        open_run(tmp_path, Config()) as run,
    ):
        run.stage_done("sft", "d")


def test_stages(tmp_path, capsys):
    with open_run(tmp_path, Config()) as run:
        assert not run.stage_done("sft", "d1")
        run.path("out").mkdir()
        run.path("out", "a").write_text("a")
        run.path("b").write_text("b")
        run.mark_done("sft", "d1", ["out", run.path("b")])
        run.mark_done("grpo", "d2", [])
    with open_run(tmp_path, Config()) as run:
        assert run.stage_done("sft", "d1") and run.stage_done("grpo", "d2")
        assert not run.stage_done("sft", "other inputs")
        run.path("out", "new").write_text("a note by the user")
        assert run.stage_done("sft", "d1")
        run.path("out", "a").write_text("A")
        assert not run.stage_done("sft", "d1") and "changed" in capsys.readouterr().out
        run.path("out", "a").unlink()
        assert not run.stage_done("sft", "d1") and "missing" in capsys.readouterr().out
        with pytest.raises(FileNotFoundError):
            run.mark_done("x", "d", ["nowhere"])


def test_metrics_are_shared_by_the_stages(tmp_path):
    with open_run(tmp_path, Config()) as run:
        sft, grpo = run.metrics("sft"), run.metrics("grpo")
        sft.write(1, {"loss": 2.0})
        grpo.write(1, {"loss": 1.0})
        rows = [json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"], row["loss"]) for row in rows] == [("sft", 1, 2.0), ("grpo", 1, 1.0)]
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["grpo", "sft"]
