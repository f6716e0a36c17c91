"""Records of small puppets whose utterances carry a number, the endpoint that knows them, the job as users start it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.recorded_traces import read_record
from emsa_jax.data import records as R
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.puppets.world import PuppetWorld, draw_world
from emsa_jax.data.records.records_manifest import write_records_manifest
from emsa_jax.data.records.shards import ShardWriter
from emsa_jax.data.sample import Sample

ROOT = Path(__file__).parents[2]
ENDPOINT = Path(__file__).parent / "endpoint.py"
KEY = "sk-test-0123456789abcdef"


def write_records(directory, number, frames=2, seconds=0.05, frame_format="jpeg", concepts=False):
    """The train clips of a puppet world, "#0" first, with small media; returns their true polarities."""
    puppets = [p for p in draw_world(PuppetWorld(num_train=number, num_valid=1, num_test=1)) if p.split == "train"]
    options = PrepareOptions(frame_format=frame_format)
    os.makedirs(directory)
    writer, made, rng = ShardWriter(directory, "train", 2**24), [], np.random.default_rng(0)
    for i, p in enumerate(puppets):
        pictures = rng.integers(0, 256, (frames, 28, 28, 3), dtype=np.uint8)
        pcm = rng.integers(-3000, 3000, int(16000 * seconds)).astype(np.int16)
        mel = np.zeros((int(100 * seconds), 128), np.float32)
        marks = (("tone", p.tone), ("expression", p.expression), ("speaking_style", p.style)) if concepts else ()
        sample = Sample(p.id, f"#{i} {p.text}", p.score, "train", concepts=marks)
        made.append(R.pack(sample, pictures, 2.0, mel, pcm, "", options))
        writer.add(made[-1])
    write_records_manifest(directory, writer.close(), list(map(R.entry, made)), (-3.0, 3.0))
    return [polarity_of(p.score) for p in puppets]


class Served:
    """The endpoint in a process of its own."""

    def __init__(self, folder, polarities, **options):
        self.folder = Path(folder)
        (self.folder / "truths.json").write_text(json.dumps(polarities))
        self.log = self.folder / "requests.jsonl"
        options = {"truths": self.folder / "truths.json", "log": self.log, "key": KEY, **options}
        command = [sys.executable, str(ENDPOINT), *(f"--{name}={value}" for name, value in options.items())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"

    def requests(self, first=0):
        """The requests that arrived, from a line of the log on."""
        lines = self.log.read_text().splitlines()[first:] if self.log.exists() else []
        return [row for row in map(json.loads, lines) if "arrived" in row]

    def lines(self):
        return self.log.read_text().count("\n") if self.log.exists() else 0

    def close(self):
        self.process.kill()
        self.process.wait()


def job(config, out, data, **fields):
    """The command of a job."""
    fields = {"data": data, "out": out, **fields}
    return [
        sys.executable,
        "-m",
        "emsa_jax.main",
        f"--config=configs/{config}.py",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]


def start(command, log, key=KEY):
    """Starts a job in a session of its own, its output in `log`."""
    environment = {**os.environ, "OPENAI_API_KEY": key, "COLUMNS": "120"}
    with open(log, "a") as out:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def rows(out, kinds=("attempt", "judge")):
    """The rows of a record."""
    return [row for row in read_record(Path(out) / "record.jsonl") if row["kind"] in kinds]


@pytest.fixture
def world(tmp_path):
    """world(number, **endpoint options) -> (records directory, Served)."""
    served = []

    def make(number, records=None, **options):
        polarities = write_records(tmp_path / "data", number, **(records or {}))
        served.append(Served(tmp_path, polarities, **options))
        return tmp_path / "data", served[-1]

    make.job, make.start, make.kill, make.rows, make.key = job, start, kill, rows, KEY
    yield make
    for one in served:
        one.close()
