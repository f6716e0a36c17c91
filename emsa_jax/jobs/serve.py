"""A policy behind OpenAI's protocol, until the server is told to stop."""

from __future__ import annotations

from pathlib import Path

from emsa_jax.errors import InputError
from emsa_jax.parallel import processes
from emsa_jax.report.demo_page import demo_page
from emsa_jax.runtime.console import say
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.startup import check_devices
from emsa_jax.serving.server import PolicyServer
from emsa_jax.serving.serving_options import ServeOptions


def serve(options: ServeOptions) -> None:
    """Serves; SIGTERM and Ctrl-C let what is under way end, and are no error. Raises InputError for an address that
    cannot be had, a policy that cannot be opened, and an open address without a token."""
    if not options.policy:
        raise InputError("config.policy: name a policy directory, such as runs/mine/export/merged")
    if not Path(options.policy).expanduser().is_dir():
        raise InputError(f"config.policy: there is no directory {options.policy}")
    if options.media_root and not Path(options.media_root).expanduser().is_dir():
        raise InputError(f"config.media_root: there is no directory {options.media_root}")
    server = PolicyServer(options, demo_page())
    check_devices()
    if options.cache:
        keep_compiled(Path(options.cache).expanduser())
    say(f"listening at {server.address}; compiling")
    server.answer_all()
    say("stopped")
    if server.service.completions is None:  # stopped while a thread compiles, which cannot be told to end
        processes.leave(0)
