"""A server's life: it listens while programs are compiled, answers, and drains when it is told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import uvloop

from emsa_jax.errors import InputError
from emsa_jax.runtime.console import progress, say
from emsa_jax.serving.access import Access
from emsa_jax.serving.app import Service, make_app
from emsa_jax.serving.completions import Completions
from emsa_jax.serving.engine import Engine
from emsa_jax.serving.metrics import Metrics
from emsa_jax.serving.opened_policy import open_policy
from emsa_jax.serving.programs import ServingPrograms
from emsa_jax.serving.serving_options import LOOPBACK, ServeOptions, fits_header
from emsa_jax.serving.shapes import served_shapes

DRAIN_SECONDS = 10  # for what is under way when the server is told to stop
IDLE_SECONDS = 15  # for which a connection without a request stays open
DECODE_SECONDS = 30.0  # for one file


def token_of(options: ServeOptions) -> str:
    """The token that clients must send, "" for none. Raises InputError where there has to be one."""
    token = options.token or os.environ.get(options.token_env, "")
    if not token and options.host not in LOOPBACK:
        raise InputError(
            f"config.host: at {options.host} others can reach this server; say config.token=..., or set "
            f"{options.token_env}, and give it to those who may ask"
        )
    if not fits_header(token):
        raise InputError(
            f"{options.token_env}: only visible ASCII characters can be sent in a header; set another token"
        )
    return token


def listen(options: ServeOptions) -> socket.socket:
    """A socket at the server's address. Raises InputError where it cannot be had."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((options.host, options.port))
        made.listen(1024)  # from now on clients wait, and are not refused
    except OSError as error:
        made.close()
        field = "host" if isinstance(error, socket.gaierror) else "port"
        raise InputError(
            f"config.{field}: {options.host}:{options.port} cannot be used: {error.strerror or error}"
        ) from error
    return made


class PolicyServer(uvicorn.Server):
    """A server whose policy is opened, and whose programs are compiled, in a thread beside it.

    Attributes:
      address: as http://127.0.0.1:8000.
      failure: what went wrong in that thread; the server then stops.
    """

    def __init__(self, options: ServeOptions, page: bytes = b"") -> None:
        """page: what `GET /` answers. Raises InputError for an address that cannot be had, and where a token is
        lacking."""
        self.options, self.failure = options, None
        access = Access.of(options.host, token_of(options), options.hosts)
        self.service = Service(
            access=access,
            metrics=Metrics(),
            max_bytes=round(options.max_mb * 1e6),
            timeout_seconds=options.timeout_seconds,
            max_answers=options.max_answers,
            page=page,
        )
        self._socket = listen(options)
        host, port = self._socket.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._closing = contextlib.ExitStack()
        super().__init__(
            uvicorn.Config(
                make_app(self.service),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )

    def answer_all(self) -> None:
        """Serves until it is told to stop. Raises what kept the policy from being opened."""
        thread = threading.Thread(target=self._open, name="compile", daemon=True)
        thread.start()
        try:
            uvloop.run(self.serve(sockets=[self._socket]))
        finally:
            self._closing.close()
            self._socket.close()
        if self.failure is not None:
            raise self.failure

    def handle_exit(self, sig: int, frame: object) -> None:
        """Told to stop: what is under way is answered, what comes is refused."""
        if not self.service.draining:
            say(f"stopping: what is under way has {DRAIN_SECONDS} s")
        self.service.draining = True
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hears SIGINT and SIGTERM, both of which are a usual end here: nobody has to hear of them afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _open(self) -> None:
        try:
            begun = time.monotonic()
            options = self.options
            policy = open_policy(options, options.max_seconds, options.decoders)
            for note in policy.notes:
                say(note)
            shapes = served_shapes(
                policy.prompter, policy.prepare, options.max_text, options.max_images, options.buckets
            )
            programs = ServingPrograms(policy, shapes, [1, options.batch_size], options.max_tokens, options.chunk)
            with progress(programs.count, "compiling", every=20) as advance:
                programs.compile(advance)
            engine = Engine(programs, options.max_queue, options.max_batches)
            name = options.name or _model_name(Path(options.policy), options.adapter)
            completions = Completions(
                policy,
                engine,
                self.service.metrics,
                name=name,
                media_root=options.media_root,
                decode_seconds=DECODE_SECONDS,
            )
            self._closing.enter_context(completions)
            self._closing.callback(engine.close)
            engine.start()
            self.service.metrics.watch(engine)
            self.service.completions = completions
            lengths = ", ".join(str(shape.prompt) for shape in shapes)
            say(
                f"serving {name} at {self.address}/v1, ready after {time.monotonic() - begun:.0f} s: prompts of up to "
                f"{lengths} tokens, {options.batch_size} answers at a time; stop with Ctrl+C"
            )
        except BaseException as error:  # of any kind: the main thread is to say it
            self.failure = error
            self.should_exit = True


def _model_name(policy: Path, adapter: str) -> str:
    """A name for clients: of the directory, or of the run where it is one of a run's."""
    place = Path(adapter or policy).expanduser().absolute()
    parts = [part for part in place.parts if part not in ("merged", "export", "adapter", "policy", "/")]
    return parts[-1] if parts else "policy"
