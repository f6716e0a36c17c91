"""A server under load: 64 clients at once, among them slow and broken ones; what became of every request.

    python benchmarks/serve_load.py [--policy DIR] [--clients 64] [--requests 1000] > benchmarks/results/serve_load.txt

Without --policy the clients ask an untrained tiny, whose answers are as long as allowed. The server is a process of its
own on the same machine, with its usual settings but for those in SETTINGS; clients come again after 429, as it says.
Memory is the server's resident memory, of the process that answers, without those that decode.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import aiohttp
import numpy as np

from emsa_jax import manifest
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.messages import messages
from emsa_jax.data.puppets import PuppetWorld, make_puppets
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.policy.trained_for import TrainedFor, write_trained_for

SETTINGS = {"max_tokens": 32, "batch_size": 8, "max_queue": 32, "max_seconds": 10, "max_images": 4, "decoders": 2}
# kind -> its share of the requests
KINDS = {
    "words": 0.25,
    "video": 0.25,
    "stream": 0.15,
    "json": 0.08,
    "three answers": 0.05,
    "slow sender": 0.04,
    "slow reader": 0.04,
    "hangs up while sending": 0.04,
    "hangs up while reading": 0.04,
    "broken base64": 0.03,
    "no video": 0.03,
}
REFUSED = ("broken base64", "no video")
GONE = ("hangs up while sending", "hangs up while reading")


def write_policy(directory: Path) -> None:
    """An untrained tiny."""
    form = make_format("dc", (-1.0, 1.0))
    asked = [
        part["text"]
        for video in (0, 1)
        for said in messages(form, "good day", "en", video, True)
        for part in said["content"]
        if part["type"] == "text"
    ]
    make_tiny(directory, [*asked, form.write("Positive", "1. words: good.", 0.5)], 0)
    known = TrainedFor(format="dc", score_range=(-1.0, 1.0), language="en", num_frames=8, max_pixels=3136)
    write_trained_for(directory, known)
    manifest.write_manifest(directory)


class Load:
    """The clients of one server."""

    def __init__(self, url: str, model: str, clips: list[bytes], requests: int, seed: int = 0) -> None:
        self.url, self.model = url, model
        self.clips = [base64.b64encode(clip).decode() for clip in clips]
        rng = random.Random(seed)
        self.plan = rng.choices(list(KINDS), weights=KINDS.values(), k=requests)
        self.outcomes: dict[str, Counter] = defaultdict(Counter)
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self.busy = 0

    def body(self, kind: str, number: int) -> dict:
        """A request of some kind; `number` makes it another one."""
        parts = [{"type": "text", "text": f"good day number {number}"}]
        clip = self.clips[number % len(self.clips)]
        if kind == "broken base64":
            clip = clip[:-7] + "%"
        if kind == "no video":
            clip = base64.b64encode(b"no video at all").decode()
        if kind in ("video", "slow sender", "hangs up while sending", *REFUSED):
            parts.append({"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{clip}"}})
        body = {"model": self.model, "messages": [{"role": "user", "content": parts}], "temperature": 1, "seed": number}
        body |= {"response_format": {"type": "json_object"}} if kind == "json" else {}
        body |= {"n": 3} if kind == "three answers" else {}
        return body | ({"stream": True} if kind in ("stream", "slow reader", "hangs up while reading") else {})

    async def one(self, http: aiohttp.ClientSession, kind: str, number: int) -> None:
        """One request to its end, again after each 429."""
        begun = time.monotonic()
        while True:
            try:
                outcome = await self._sent(http, kind, json.dumps(self.body(kind, number)).encode())
            except (TimeoutError, aiohttp.ClientError) as error:
                outcome = f"lost ({type(error).__name__})"
            if outcome != "429":
                break
            self.busy += 1
            await asyncio.sleep(1 + random.random())
        self.outcomes[kind][outcome] += 1
        self.latencies[kind].append(time.monotonic() - begun)

    async def _sent(self, http: aiohttp.ClientSession, kind: str, content: bytes) -> str:
        data = self._dripping(content, kind) if kind in ("slow sender", "hangs up while sending") else content
        try:
            async with http.post(f"{self.url}/v1/chat/completions", data=data) as reply:
                if reply.status == 429:
                    return "429"
                if kind in ("slow reader", "hangs up while reading"):
                    first = await reply.content.readline()
                    if kind == "hangs up while reading":
                        reply.close()
                        return "gone"
                    await asyncio.sleep(2)
                    text = first + await reply.content.read()
                else:
                    text = await reply.read()
                if reply.status == 400:
                    return "refused" if json.loads(text)["error"]["message"] else "an error without a message"
                if reply.status != 200:
                    return f"HTTP {reply.status}"
                whole = text.endswith(b"data: [DONE]\n\n") if b"data:" in text[:6] else json.loads(text)["choices"]
                return "answered" if whole else "an answer without an end"
        except _HungUp:
            return "gone"
        except aiohttp.ClientError as error:
            if isinstance(error.__cause__, _HungUp):
                return "gone"
            raise

    async def _dripping(self, content: bytes, kind: str):
        for at in range(0, len(content), max(1, len(content) // 10)):
            yield content[at : at + max(1, len(content) // 10)]
            await asyncio.sleep(0.2)
            if kind == "hangs up while sending" and at > len(content) // 2:
                raise _HungUp

    async def run(self, clients: int, http: aiohttp.ClientSession, plan: list[tuple[int, str]]) -> float:
        """So many clients work through a plan. Returns seconds."""
        begun, left = time.monotonic(), iter(plan)

        async def client() -> None:
            for number, kind in left:
                await self.one(http, kind, number)

        await asyncio.gather(*(client() for _ in range(clients)))
        return time.monotonic() - begun


class _HungUp(Exception):
    """The client goes in the middle of its request."""


async def counters(http: aiohttp.ClientSession, url: str) -> dict[str, float]:
    """The server's counters that have no labels."""
    async with http.get(f"{url}/metrics") as reply:
        text = await reply.text()
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


async def main(arguments: argparse.Namespace) -> None:
    """Starts a server, asks, and prints the tables."""
    with tempfile.TemporaryDirectory() as root:
        policy = Path(arguments.policy or Path(root) / "tiny")
        if not arguments.policy:
            write_policy(policy)
        make_puppets(Path(root) / "puppets", PuppetWorld(num_train=8, num_valid=1, num_test=1))
        clips = [path.read_bytes() for path in sorted((Path(root) / "puppets").rglob("*.mp4"))]
        fields = SETTINGS | {"policy": policy, "name": "load", "port": 0, "cache": ""}
        command = [sys.executable, "-m", "emsa_jax.main", "--config=configs/serve.py"]
        command += [f"--config.{name}={value}" for name, value in fields.items()]
        environment = {**os.environ, "TMPDIR": root}
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        url = re.search(r"http://[\d.:]+", server.stdout.readline())[0]
        print(server.stdout.readline().strip())
        timeout = aiohttp.ClientTimeout(total=180)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
            load = Load(url, "load", clips, arguments.requests)
            await Load(url, "load", clips, 40).run(8, http, [(n, kind) for n, kind in enumerate(KINDS)])  # warm
            plan, memory, seconds = list(enumerate(load.plan)), [], 0.0
            step = -(-len(plan) // 4)
            for at in range(0, len(plan), step):
                memory.append((at, (await counters(http, url))["process_resident_memory_bytes"]))
                seconds += await load.run(arguments.clients, http, plan[at : at + step])
            told = await counters(http, url)
            memory.append((len(plan), told["process_resident_memory_bytes"]))
        server.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        code = server.wait(30)
        left = [path.name for path in Path(root).glob("emsa-*")]
        print_result(arguments, load, seconds, memory, told)
        print(f"SIGTERM: exit {code} after {time.monotonic() - begun:.1f} s; temporary files left: {len(left)}")


def print_result(arguments: argparse.Namespace, load: Load, seconds: float, memory: list, told: dict) -> None:
    """The tables."""
    sent = sum(sum(found.values()) for found in load.outcomes.values())
    print(
        f"\n{arguments.clients} clients, {sent} requests in {seconds:.0f} s; {load.busy} times 429, and asked again\n"
    )
    print(f"| kind | requests | what became of them | p50 s | p95 s | longest s |\n|{'---|' * 6}")
    wrong = 0
    for kind in KINDS:
        found, times = load.outcomes[kind], np.array(load.latencies[kind] or [0.0])
        wanted = "refused" if kind in REFUSED else "gone" if kind in GONE else "answered"
        wrong += sum(count for outcome, count in found.items() if outcome != wanted)
        became = ", ".join(f"{count} {outcome}" for outcome, count in found.items())
        spread = " | ".join(f"{value:.2f}" for value in (*np.percentile(times, [50, 95]), times.max()))
        print(f"| {kind} | {sum(found.values())} | {became} | {spread} |")
    answered = sum(found["answered"] for found in load.outcomes.values())
    print(f"\nnot as they should be: {wrong}")
    print(f"answered requests a second: {answered / seconds:.1f}")
    print("memory, MB after so many requests: " + ", ".join(f"{n}: {size / 1e6:.0f}" for n, size in memory))
    print(f"programs compiled after the start: {told['emsa_compilations_total']:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=1000)
    asyncio.run(main(parser.parse_args()))
