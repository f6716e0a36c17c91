"""Assembling: pretrained parts become one policy directory."""

from __future__ import annotations

from pathlib import Path

from emsa_jax.config.edge import pick
from emsa_jax.errors import InputError
from emsa_jax.policy.assemble import Parts
from emsa_jax.policy.assemble import assemble as join
from emsa_jax.policy.bridge_files import FRESH
from emsa_jax.runtime.console import say
from emsa_jax.settings.job_options import AssembleOptions


def assemble(options: AssembleOptions) -> None:
    """Writes `options.out`. Raises InputError, before anything is written, for what cannot be joined."""
    for name, what in (("text", "a directory of a text model"), ("out", "the policy directory to write")):
        if not getattr(options, name):
            raise InputError(f"config.{name}: name {what}")
    if not (options.audio or options.vision):
        raise InputError(
            "config.audio: name a directory of Whisper, or config.vision: without a tower there is nothing to join"
        )
    for name in ("text", "audio", "vision"):
        if (directory := getattr(options, name)) and not Path(directory).is_dir():
            raise InputError(f"config.{name}: {directory}: no such directory")
    for name in ("audio_bridge", "vision_bridge"):
        if (directory := getattr(options, name)) not in ("", FRESH) and not Path(directory).is_dir():
            raise InputError(f"config.{name}: {directory}: no such directory; name one, or say fresh")
    out = Path(options.out).expanduser()
    if out.exists():
        raise InputError(f"config.out: {out} exists already; remove it, or name another directory")
    for line in join(pick(Parts, options), out):
        say(line)
    say(f"assembled {out}")
