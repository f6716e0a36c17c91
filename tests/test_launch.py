"""What lies in launch/: scripts, YAML, images and environments, without any cloud."""

import operator
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[1] / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))


def run(script, arguments, path, **env):
    return subprocess.run(
        ["bash", str(LAUNCH / script), *arguments],
        capture_output=True,
        text=True,
        cwd=LAUNCH.parent,
        env={"PATH": f"{path}:{os.environ['PATH']}", "HOME": str(path), "PAUSE": "0", **env},
    )


def fake(directory: Path, name: str, body: str) -> Path:
    """A command that writes its arguments to `calls`, a line each call, and then does `body`."""
    path = directory / name
    noted = f"echo {name} \"$(echo \"$*\" | tr '\\n' ' ')\" >> {directory}/calls"
    path.write_text(f"#!/usr/bin/env bash\n{noted}\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script):
    assert len(script.read_text().splitlines()) <= 60 and os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-x", str(script)], capture_output=True, text=True, cwd=LAUNCH.parent)
        assert done.returncode == 0, done.stdout


TPU = {"NAME": "emsa", "ZONE": "z", "TYPE": "v5litepod-16", "SHARE": "10.0.0.2:/share"}
GCLOUD = """
case "$*" in
  *describe*) next=$(head -n1 {states}); sed -i '$!{{1d}}' {states}; [ "$next" != NONE ] && echo "$next" ;;
  *emsa_jax.main*) next=$(head -n1 {codes}); sed -i 1d {codes}; exit "$next" ;;
esac"""


def on_tpu(tmp_path, states, codes, **env):
    (tmp_path / "states").write_text("\n".join(states) + "\n")
    (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
    fake(tmp_path, "gcloud", GCLOUD.format(states=tmp_path / "states", codes=tmp_path / "codes"))
    fake(tmp_path, "tar", "")
    done = run("tpu_vm.sh", ["--config=configs/grpo.py", "--config.data=a b"], tmp_path, **TPU | env)
    calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    return (
        done,
        [
            re.search(r"queued-resources (\w+)|tpu-vm (\w+)", call)
            for call in calls
            if "describe" not in call and call.startswith("gcloud")
        ],
        calls,
    )


def test_a_tpu_slice_is_asked_for_waited_for_and_used(tmp_path):
    states = ["NONE", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    done, verbs, calls = on_tpu(tmp_path, states, [0], EXTRA="--spot")
    assert done.returncode == 0, done.stderr
    assert [v.group(0).split()[-1] for v in verbs] == ["create", "scp", "ssh", "ssh"]
    create = next(call for call in calls if "create" in call)
    assert "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite --spot" in create
    started = calls[-1]
    assert "--worker=all" in started and r"--config.data=a\ b" in started and "exec .venv/bin/python" in started


def test_after_a_preemption_the_slice_is_made_anew(tmp_path):
    """Told to stop and saved (42), on a slice that is gone; then a host that cannot be reached (255); then the end."""
    states = ["ACTIVE", "SUSPENDED", "NONE", "ACTIVE", "ACTIVE"]
    done, verbs, _ = on_tpu(tmp_path, states, [42, 255, 0])
    assert done.returncode == 0, done.stderr
    shown = [v.group(0).split()[-1] for v in verbs]
    assert shown == ["scp", "ssh", "ssh", "delete", "create"] + ["scp", "ssh", "ssh"] * 2
    assert done.stderr.count("again") == 2


@pytest.mark.parametrize("code", [1, 2])
def test_an_error_of_the_run_is_not_tried_again(tmp_path, code):
    done, verbs, _ = on_tpu(tmp_path, ["ACTIVE"], [code])
    assert done.returncode == code and len(verbs) == 3


def test_an_error_while_the_slice_goes_away_is_tried_again(tmp_path):
    done, *_ = on_tpu(tmp_path, ["ACTIVE", "SUSPENDED", "NONE", "ACTIVE"], [1, 0])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("states", "codes", "told", "code"),
    [
        (["FAILED"] * 9, [], "5 times in a row: the slice is FAILED", 1),
        (["ACTIVE"] * 9, [42] * 9, "5 times in a row: the run ended with code 42 within 10 minutes", 42),
        (["ACTIVE"] * 9, [255] * 9, "5 times in a row: the run ended with code 255 within 10 minutes", 255),
    ],
)
def test_what_comes_to_nothing_again_and_again_is_given_up(tmp_path, states, codes, told, code):
    done, *_ = on_tpu(tmp_path, states, codes)
    assert done.returncode == code and told in done.stderr


def test_nothing_starts_where_the_code_could_not_be_copied(tmp_path):
    (tmp_path / "states").write_text("ACTIVE\n")
    fake(tmp_path, "gcloud", "case $* in *describe*) echo ACTIVE ;; esac")
    fake(tmp_path, "tar", "exit 2")
    done = run("tpu_vm.sh", [], tmp_path, **TPU)
    calls = (tmp_path / "calls").read_text()
    assert done.returncode == 2 and "scp" not in calls and "emsa_jax.main" not in calls


def test_what_is_missing_is_named(tmp_path):
    for name in TPU:
        done = run("tpu_vm.sh", [], tmp_path, **{k: v for k, v in TPU.items() if k != name})
        assert done.returncode and name in done.stderr
    done = run("tpu_vm.sh", [], tmp_path, **TPU | {"TYPE": "h100"})
    assert done.returncode == 2 and "v5litepod-N" in done.stderr


def test_xpk_gets_the_workload(tmp_path):
    fake(tmp_path, "xpk", "")
    done = run(
        "xpk.sh",
        ["--config.data=a b"],
        tmp_path,
        CLUSTER="c",
        NAME="emsa",
        TYPE="v5litepod-16",
        IMAGE="i:1",
        EXTRA="--dry-run --output-manifest-file=job.yaml",
    )
    assert done.returncode == 0, done.stderr
    call = (tmp_path / "calls").read_text()
    for part in (
        "workload create --cluster=c --workload=emsa --tpu-type=v5litepod-16 --num-slices=1",
        "--max-restarts=50",
        "--dry-run --output-manifest-file=job.yaml",
        r"--command=exec python -m emsa_jax.main --config.data=a\ b",
    ):
        assert part in call


@pytest.mark.parametrize(
    "code, restarts, requeued",
    [(0, 0, False), (42, 0, True), (42, 50, False), (1, 0, False), (2, 0, False), (134, 3, True)],
)
def test_slurm_puts_a_preempted_job_back(tmp_path, code, restarts, requeued):
    fake(tmp_path, "srun", f"env >> {tmp_path}/env; exit {code}")
    fake(tmp_path, "scontrol", "")
    done = run(
        "slurm.sh",
        ["--workdir=/shared/run"],
        tmp_path,
        SLURM_SUBMIT_DIR=str(LAUNCH.parent),
        SLURM_JOB_ID="7",
        SLURM_RESTART_COUNT=str(restarts),
    )
    calls = (tmp_path / "calls").read_text()
    assert ("scontrol requeue 7" in calls) == requeued and done.returncode == (0 if requeued else code)
    assert "emsa_jax.main --workdir=/shared/run" in calls
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION=0.92" in (tmp_path / "env").read_text()


def test_the_jobset_is_a_v5e_4x4_that_starts_again_after_42_and_not_after_an_error():
    spec = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())["spec"]
    (job,) = spec["replicatedJobs"]
    job = job["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    sides = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    chips = next(sides) * next(sides)
    assert job["parallelism"] == job["completions"] == chips // container["resources"]["limits"]["google.com/tpu"] == 4
    (rule,) = job["podFailurePolicy"]["rules"]
    codes = rule["onExitCodes"]
    assert spec["failurePolicy"]["maxRestarts"] > 0 and rule["action"] == "FailJob"
    assert codes["containerName"] == container["name"] and codes["operator"] == "In" and codes["values"] == [1, 2]
    assert {v["name"] for v in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert {e["name"]: e["value"] for e in container["env"]} == environment("env.tpu")


def environment(name: str) -> dict[str, str]:
    lines = [line for line in (LAUNCH / name).read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Z_]+=\S+", line) for line in lines), name
    return dict(line.split("=", 1) for line in lines)


def test_environments_name_their_platform():
    assert environment("env.tpu")["JAX_PLATFORMS"].startswith("tpu")
    assert environment("env.gpu")["JAX_PLATFORMS"].startswith("cuda")


def test_sky_runs_the_same_command_on_every_host(tmp_path):
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    assert set(re.findall(r"\$(\w+)", task["setup"] + task["run"])) <= {
        *task["envs"],
        "SKYPILOT_NUM_NODES",
        "SKYPILOT_NODE_RANK",
        "SKYPILOT_NODE_IPS",
        "NODE_RANK",
    }
    (tmp_path / "launch").symlink_to(LAUNCH)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    fake(tmp_path / ".venv/bin", "python", f"env > {tmp_path}/env; printf $# > {tmp_path}/.venv/bin/arguments")
    subprocess.run(
        ["bash", "-euc", task["run"]],
        check=True,
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "EXTRA": "cuda",
            "ENV": "gpu",
            "ARGS": "--config=configs/grpo.py '--config.data=a b'",
            "SKYPILOT_NUM_NODES": "2",
            "SKYPILOT_NODE_RANK": "1",
            "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        },
    )
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert (tmp_path / ".venv/bin/calls").read_text().endswith("--config=configs/grpo.py --config.data=a b \n")
    assert (tmp_path / ".venv/bin/arguments").read_text() == "4"
    assert (env["NNODES"], env["NODE_RANK"], env["JAX_COORDINATOR_ADDRESS"]) == ("2", "1", "10.0.0.1:8476")
    assert env["JAX_PLATFORMS"] == "cuda,cpu"


@pytest.mark.parametrize("kind, extra", [("tpu", "tpu"), ("gpu", "cuda12")])
def test_images_copy_what_there_is_and_pin_jax(kind, extra):
    text = (LAUNCH / f"Dockerfile.{kind}").read_text()
    for line in re.findall(r"^COPY (.*)", text, re.M):
        assert all((LAUNCH.parent / source).exists() for source in line.split()[:-1]), line
    version = re.search(r"^jax==(\S+)", (LAUNCH.parent / "requirements.txt").read_text(), re.M).group(1)
    assert f'"jax[{extra}]=={version}"' in text
    assert text.rstrip().endswith('ENTRYPOINT ["python", "-m", "emsa_jax.main"]')  # no shell that would keep SIGTERM


JOBS = [
    [
        "--config=configs/assemble.py",
        "--config.text=/share/a b",
        "--config.audio=/share/whisper",
        "--config.out=/share/p",
    ],
    ["--config=configs/sft.py:smol", "--config.stages=('prepare','align','sft')", "--config.lora.also=('audio.proj',)"],
    ["--config=configs/grpo.py:omni_3b", "--config.evaluate.decode=expected", "--config.policy=/share/$HOME/it's"],
    ["--config=configs/evaluate.py:smol", "--config.evaluate.decode=expected", "--config.encodings.path=/share/kept"],
]


def given_to_slurm(tmp_path, job):
    fake(tmp_path, "srun", f"printf '%s\\n' \"${{@:6}}\" > {tmp_path}/given")
    done = run("slurm.sh", job, tmp_path, SLURM_SUBMIT_DIR=str(LAUNCH.parent), SLURM_JOB_ID="7")
    assert done.returncode == 0, done.stderr


def given_to_tpu_vm(tmp_path, job):
    """The hosts' shell reads the command once more."""
    done, _, calls = on_tpu(tmp_path, ["ACTIVE"], [0], EXTRA="")
    assert done.returncode == 0, done.stderr
    (tmp_path / "calls").unlink()
    (tmp_path / "codes").write_text("0\n")
    fake(tmp_path, "gcloud", GCLOUD.format(states=tmp_path / "states", codes=tmp_path / "codes").replace(
        'next=$(head', f'printf %s "$*" > {tmp_path}/last; next=$(head'
    ))  # fmt: skip
    assert run("tpu_vm.sh", job, tmp_path, **TPU).returncode == 0
    read_by_a_shell(tmp_path, re.search(r"exec \.venv/bin/python (.*)", (tmp_path / "last").read_text(), re.S).group(1))


def given_to_xpk(tmp_path, job):
    fake(tmp_path, "xpk", f'printf %s "${{@: -1}}" > {tmp_path}/last')
    names = {"CLUSTER": "c", "NAME": "emsa", "TYPE": "v5litepod-16", "IMAGE": "i:1"}
    assert run("xpk.sh", job, tmp_path, **names).returncode == 0
    read_by_a_shell(tmp_path, (tmp_path / "last").read_text().removeprefix("--command=exec python "))


def read_by_a_shell(tmp_path, command):
    (tmp_path / "python").write_text(f"#!/usr/bin/env bash\nprintf '%s\\n' \"${{@:3}}\" > {tmp_path}/given\n")
    (tmp_path / "python").chmod(0o755)
    subprocess.run(["bash", "-uc", f"exec {tmp_path}/python {command}"], check=True)


@pytest.mark.parametrize("give", [given_to_slurm, given_to_tpu_vm, given_to_xpk], ids=lambda give: give.__name__)
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job[0].rpartition("/")[2])
def test_jobs_of_small_policies_come_through_as_they_were_given(tmp_path, give, job):
    """Spaces, quotes, brackets and dollar signs; and every field that is given is one."""
    give(tmp_path, job)
    assert (tmp_path / "given").read_text().splitlines() == job
    file, _, preset = job[0].removeprefix("--config=").partition(":")
    config = runpy.run_path(str(LAUNCH.parent / file))["get_config"](preset)
    for field in [argument.removeprefix("--config.").partition("=")[0] for argument in job[1:]]:
        operator.attrgetter(field)(config)
