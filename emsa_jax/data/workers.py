"""Decoding in processes of their own, so that a decoder that crashes or hangs costs one clip and not the run.

Each worker is `python -m emsa_jax.data.workers`, which loads no JAX and nothing of the calling program, and
speaks length-prefixed msgpack over its pipes: one task in, one answer out. As a worker holds one clip at a
time, its death says which clip it was.
"""

import contextlib
import os
import queue
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Self

import msgpack

from emsa_jax.data.child_signals import left_to_the_parent
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.media import Broken
from emsa_jax.data.sample import Sample

_HEADER = struct.Struct("<Q")
_MEMORY_BYTES = 4 * 2**30  # of address space a worker; a forged frame size then fails in its own process
_ATTEMPTS = 2
TIMEOUT_SECONDS = 600.0  # of the decoding of one clip


def encode_all(
    tasks: Iterable[tuple[Sample, str]], options: PrepareOptions, timeout_seconds: float = TIMEOUT_SECONDS
) -> Iterator[tuple[Sample, bytes | Broken]]:
    """(sample, record or why there is none) for each (sample, source sha256), in order, few held at once.

    timeout_seconds: a clip whose decoding takes longer is given up."""
    count = options.workers or len(os.sched_getaffinity(0))
    threads = ThreadPoolExecutor(count)
    with Decoders(options, timeout_seconds) as decoders:
        try:
            pending: deque = deque()
            for sample, source in tasks:
                pending.append((sample, threads.submit(decoders.encode, sample, source)))
                if len(pending) > 2 * count:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            threads.shutdown(cancel_futures=True)


class Decoders:
    """Decoding processes that threads share, as many as `options.workers` says; each is started when it is needed.

    To be used as a context, at the end of which the processes end."""

    def __init__(self, options: PrepareOptions, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """timeout_seconds: a clip whose decoding takes longer is given up."""
        count = options.workers or len(os.sched_getaffinity(0))
        self._workers = [_Worker(options, timeout_seconds) for _ in range(count)]
        self._free: queue.LifoQueue[_Worker] = queue.LifoQueue()  # those that have been started come first
        for worker in self._workers:
            self._free.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()

    def stop(self) -> None:
        """Ends all processes at once; whoever waits for a clip is told that it is broken. To be called before the
        context ends where threads may still decode."""
        for worker in self._workers:
            worker.stop()

    def start(self) -> None:
        """Starts all processes, so that nobody has to wait for one."""
        for worker in self._workers:
            worker.start()

    def encode(self, sample: Sample, source: str) -> bytes | Broken:
        """The record of a sample, or why there is none. source: sha256 of its media. Waits for a free process."""
        worker = self._free.get()
        try:
            return worker.encode(sample, source)
        finally:
            self._free.put(worker)


class _Worker:
    """A decoding process, started when first needed and again after each death."""

    def __init__(self, options: PrepareOptions, timeout_seconds: float) -> None:
        self._options, self._timeout = options, timeout_seconds
        self._process: subprocess.Popen | None = None
        self._stopped = False

    def encode(self, sample: Sample, source: str) -> bytes | Broken:
        # One death may be the machine's fault (memory ran out); a clip that kills two workers is at fault.
        for _ in range(_ATTEMPTS):
            if self._stopped:
                return Broken("decoding was stopped")
            process = self.start()
            try:
                _write(process.stdin, {"sample": asdict(sample), "source": source})
                answer = _read(process.stdout)
            except BrokenPipeError:
                answer = None
            if answer is not None:
                return answer["record"] if "record" in answer else Broken(answer["broken"])
            code = self._bury()
        if code == -signal.SIGALRM:
            return Broken(f"decoding took longer than {self._timeout:g} s")
        return Broken(f"the decoder crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})")

    def close(self) -> None:
        if self._process is not None:
            self._bury()

    def stop(self) -> None:
        self._stopped = True
        if (process := self._process) is not None:
            process.kill()  # whoever reads from it buries it

    def start(self) -> subprocess.Popen:
        """The process, which is started if there is none."""
        if self._process is not None:
            return self._process
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with left_to_the_parent():  # it closes the worker's input
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        _write(self._process.stdin, {"options": asdict(self._options), "timeout": self._timeout})
        if _read(self._process.stdout) is None:
            raise RuntimeError(f"a decoding process does not start (exit code {self._bury()})")
        return self._process

    def _bury(self) -> int:
        process, self._process = self._process, None
        process.stdout.close()
        try:
            process.stdin.close()  # the end of its tasks
        except BrokenPipeError:
            pass
        return process.wait()


def _write(pipe: BinaryIO, message: dict[str, Any]) -> None:
    payload = msgpack.packb(message)
    pipe.write(_HEADER.pack(len(payload)) + payload)
    pipe.flush()


def _read(pipe: BinaryIO) -> dict[str, Any] | None:
    """The next message; None where the other side has gone."""
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    (size,) = _HEADER.unpack(header)
    payload = pipe.read(size)
    return msgpack.unpackb(payload) if len(payload) == size else None


def _serve() -> None:
    import resource

    from emsa_jax.data.encode import encode

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    if (first := _read(tasks)) is None:
        return  # the parent has been killed already
    options, timeout = PrepareOptions(**first["options"]), first["timeout"]
    _write(answers, {})
    while (task := _read(tasks)) is not None:
        signal.setitimer(signal.ITIMER_REAL, timeout)  # unhandled: it ends this process
        try:
            answer = {"record": encode(Sample(**task["sample"]), task["source"], options)}
        except Broken as reason:
            answer = {"broken": str(reason)}
        except MemoryError:
            answer = {"broken": "it does not fit into memory"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answers, answer)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the parent has been killed
        _serve()
