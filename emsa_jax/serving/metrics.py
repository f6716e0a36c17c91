"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from typing import Any

import jax
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from emsa_jax.serving.engine import Engine

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
_COMPILATION = "/jax/core/compile/backend_compile_duration"


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory and CPU time of this process

        def made(kind: type, name: str, text: str, *labels: str, **more: Any) -> Any:
            return kind(f"emsa_{name}", text, labels, registry=self.registry, **more)

        self.requests = made(Counter, "requests", "requests that were answered, by status", "status")
        self.seconds = made(Histogram, "request_seconds", "from a request to the end of its answer", buckets=SECONDS)
        self.waited = made(Histogram, "queue_seconds", "from a question to its first batch", buckets=SECONDS)
        self.tokens = made(Counter, "tokens", "tokens of prompts and of answers", "kind")
        self.waiting = made(Gauge, "waiting", "answers that wait for a batch")
        self.running = made(Gauge, "running", "answers that are being made")
        self.ready = made(Gauge, "ready", "1 when all programs are compiled")
        self.compilations = made(Counter, "compilations", "programs that were compiled, which is 0 after the start")
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def watch(self, engine: Engine) -> None:
        """From now on tells what the engine does; compilations are counted from here."""
        self.waiting.set_function(lambda: engine.waiting)
        self.running.set_function(lambda: engine.running)
        self.ready.set(1)
        self.compilations.reset()

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)

    def _heard(self, event: str, seconds: float, **_: Any) -> None:
        del seconds
        if event == _COMPILATION:
            self.compilations.inc()
