"""What an installed wheel holds, and that its command works away from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from emsa_jax.shipped import shipped

ROOT = Path(__file__).parents[1]


def test_files_of_a_checkout():
    assert shipped("configs") == ROOT / "configs" and shipped("requirements.txt") == ROOT / "requirements.txt"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of what git knows: a build leaves files beside the source."""
    copy = tmp_path_factory.mktemp("source")
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(copy)]
    subprocess.run(build, check=True)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_a_wheel_holds_all_that_the_package_reads(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    package = [path for path in (ROOT / "emsa_jax").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(ROOT).as_posix() for path in package} - held == set()
    assert {f"emsa_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")} - held == set()
    assert "emsa_jax/requirements.txt" in held
    assert all(name.startswith(("emsa_jax/", "emsa_jax-")) for name in held)


@pytest.mark.slow
def test_the_command_of_a_wheel_works_elsewhere(wheel, tmp_path):
    """In an environment of its own, whose other packages are those of the tests."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install = [environment / "bin/python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    variables = {**os.environ, "PYTHONPATH": ""}
    ours = subprocess.run(
        [environment / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    others = sorted({path for path in sys.path if Path(path).name == "site-packages"})
    Path(ours, "others.pth").write_text("\n".join(others) + "\n")

    def emsa(*words):
        command = [environment / "bin/emsa", *words]
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)

    assert emsa("describe", "hint.threshold").stdout.startswith("hint.threshold: ")
    done = emsa("train", "--print-config", "hint.mode=off")
    assert done.returncode == 0 and "--config.hint.mode=off  command line\n" in done.stdout, done.stderr
    where = emsa("train", "--print-config").stdout
    assert f"{ours}/emsa_jax/configs/grpo.py" in where and str(ROOT) not in where
