"""The doctor as a user starts it, and what it says of a policy that does not fit."""

import json

import jax
import pytest

from emsa_jax.jobs import doctor as job
from emsa_jax.jobs.doctor import check_policy, check_step, doctor, findings
from emsa_jax.planning import memory
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.settings.job_options import DoctorOptions

PROMPT = PromptShape(96, 2, 56, 56, 0.5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    directory = tmp_path_factory.mktemp("doctor") / "tiny"
    make_tiny(directory, ["words"], seed=0, vocab_size=300)
    return directory


def options(tmp_path, **given):
    return DoctorOptions(**({"place": str(tmp_path), "prompt": PROMPT, "step": False, "dtype": "float32"} | given))


def test_a_machine_that_is_ready(tmp_path, tiny, capsys):
    doctor(options(tmp_path, policy=str(tiny)))
    lines = capsys.readouterr().out.splitlines()
    names = ["python", "packages", "disk", "devices", "policy", "answering", "training"]
    assert [line.split()[1] for line in lines] == names and not any(line.startswith("fault") for line in lines)


def test_a_fault_ends_with_1_and_json_says_all(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        doctor(options(tmp_path, policy=str(tmp_path / "none"), base_url="http://127.0.0.1:9/v1", json=True))
    (line,) = capsys.readouterr().out.splitlines()
    found = {finding["about"]: finding for finding in json.loads(line)}
    assert ended.value.code == 1
    assert {name for name, finding in found.items() if finding["status"] == "fault"} == {"policy", "endpoint"}
    assert str(tmp_path / "none") in found["policy"]["text"] and found["endpoint"]["advice"]


@pytest.mark.parametrize(
    "capacity, expected",
    [(10**11, ("ok", "ok")), (5 * 10**7, ("ok", "warning")), (8 * 10**6, ("fault", "warning"))],
)
def test_memory(tmp_path, tiny, monkeypatch, capacity, expected):
    monkeypatch.setattr(memory, "device_bytes", lambda: capacity)
    asked = options(tmp_path, policy=str(tiny), max_completion_length=32)
    found = {finding.about: finding for finding in check_policy(asked)}
    assert (found["answering"].status, found["training"].status) == expected
    assert all(bool(one.advice) == (one.status != "ok") for one in found.values())


@pytest.mark.parametrize(
    "made, status, told",
    [
        ({"loss": 0.5}, "ok", "updated a tiny policy"),
        ({"loss": float("nan")}, "fault", "not finite"),
        (RuntimeError("no\nkernel"), "fault", "RuntimeError: no kernel"),
    ],
)
def test_a_step(monkeypatch, made, status, told):
    def step():
        if isinstance(made, Exception):
            raise made
        return made

    monkeypatch.setattr(job, "dry_step", step)
    found = check_step()
    assert found.status == status and told in found.text and bool(found.advice) == (status != "ok")


def test_the_wait_for_a_step_is_said_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(job, "dry_step", lambda: {"loss": 0.5})
    doctor(options(tmp_path, step=True))
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "takes a minute or two" in first and "--config.step=False" in first and last.split()[1] == "step"
    doctor(options(tmp_path, step=True, json=True))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_without_devices_the_rest_is_told(tmp_path, monkeypatch):
    def none():
        raise RuntimeError("no device")

    monkeypatch.setattr(jax, "devices", none)
    found = {finding.about: finding.status for finding in findings(options(tmp_path, policy="x", step=True))}
    assert found["devices"] == "fault" and not {"policy", "step"} & found.keys()
