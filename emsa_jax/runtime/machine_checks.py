"""What a run needs of a machine, looked at: versions, devices, disk, an endpoint."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import jax
import requests

from emsa_jax.disk import free_bytes, not_writable
from emsa_jax.errors import InputError
from emsa_jax.runtime.hardware import device_bytes
from emsa_jax.runtime.startup import check_devices
from emsa_jax.shipped import shipped

LITTLE, TOO_LITTLE = 20e9, 1e9  # bytes that are free on a disk
SECONDS = 10.0  # for an endpoint
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(;[^\\]*)?", re.MULTILINE)
_INSTALL = "make install, or pip install --require-hashes -r requirements.txt"


@dataclass(frozen=True)
class Finding:
    """What was found of one thing. advice: what to do about it, "" where nothing is to be done."""

    about: str
    status: Literal["ok", "warning", "fault"]
    text: str
    advice: str = ""

    def line(self) -> str:
        """One line for a person."""
        return f"{self.status:8} {self.about:9} {self.text}" + (f"; {self.advice}" if self.advice else "")


def check_python() -> Finding:
    """The version of Python beside the one that is tested."""
    text = f"{sys.version.split()[0]} in {sys.prefix}"
    if sys.version_info[:2] == (3, 11):
        return Finding("python", "ok", text)
    return Finding("python", "warning", f"{text}, which is untested", "use 3.11 if something fails")


def check_packages(locked: str | None = None) -> Finding:
    """The installed packages beside the lock. locked: the text of a requirements.txt; None: our own."""
    pins = _pins(shipped("requirements.txt").read_text(encoding="utf-8") if locked is None else locked)
    found = {name: _version(name) for name in pins}
    missing = [name for name, version in found.items() if version is None]
    other = [f"{name} {found[name]} for {pins[name]}" for name in pins if found[name] not in (None, pins[name])]
    if missing:
        return Finding("packages", "fault", f"not installed: {_some(missing)}", _INSTALL)
    if other:
        return Finding("packages", "warning", f"other versions than those tested: {_some(other)}", _INSTALL)
    return Finding("packages", "ok", f"all {len(pins)} have the versions of requirements.txt")


def check_device() -> Finding:
    """The devices that JAX finds, and whether it passes one over."""
    try:
        check_devices()
    except InputError as error:
        return Finding("devices", "fault", str(error))
    device = jax.devices()[0]
    text = f"{jax.device_count()} x {device.device_kind}, {device_bytes() / 1e9:.3g} GB each"
    if device.platform == "cpu" and not os.environ.get("JAX_PLATFORMS") and shutil.which("nvidia-smi"):
        return Finding("devices", "warning", f"{text}, but this machine has a GPU", "make install EXTRA=cuda")
    return Finding("devices", "ok", text)


def check_disk(place: str | os.PathLike) -> Finding:
    """The room on the disk of a directory, which need not exist yet, and whether it may be written."""
    path = Path(place).expanduser().absolute()
    free = free_bytes(path)
    text = f"{free / 1e9:.3g} GB are free for {path}"
    if there := not_writable(path):
        return Finding("disk", "fault", f"{there} cannot be written", "name another place, as config.place")
    if free < TOO_LITTLE:
        return Finding("disk", "fault", text, "make room: a run needs some GB")
    if free < LITTLE:
        return Finding("disk", "warning", text, "a run of a large policy needs its size several times")
    return Finding("disk", "ok", text)


def check_endpoint(base_url: str, key: str = "") -> Finding:
    """Whether an endpoint of OpenAI's protocol answers. base_url: up to /v1. The key is in no text."""
    url, headers = base_url.rstrip("/") + "/models", {"authorization": f"Bearer {key}"} if key else {}
    try:
        reply = requests.get(url, headers=headers, timeout=SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        kind = type(error).__name__
        return Finding("endpoint", "fault", f"nothing answers at {url} ({kind})", "start it, or correct the address")
    if reply.status_code in (401, 403):
        advice = "set the variable of config.key_env to its key"
        return Finding("endpoint", "fault", f"{url} answers {reply.status_code}", advice)
    try:
        names = [str(one["id"]) for one in reply.json()["data"]]
    except (ValueError, LookupError, TypeError):
        said = f"{url} answers {reply.status_code} and no list of models"
        return Finding("endpoint", "fault", said, "is it the address up to /v1?")
    seconds = reply.elapsed.total_seconds()
    return Finding("endpoint", "ok", f"{url} answers in {seconds:.2f} s: {_some(names) or 'no model'}")


def _pins(text: str) -> Mapping[str, str]:
    """Package -> version of the lines that hold on every system."""
    return {match[1]: match[2] for match in _PIN.finditer(text) if not match[3]}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
