"""A run that several processes share: a policy smaller than tiny, answers of 24 tokens, two updates of a cold start and
three steps of GRPO. Everything that is compiled is kept for the next process."""

import json
import os
import runpy
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from emsa_jax.answers.labels import polarity_of
from emsa_jax.data.records import read_index
from emsa_jax.policy import tiny
from emsa_jax.policy.thinker_config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig
from emsa_jax.policy.tiny import tiny_config
from emsa_jax.settings.config import Config

WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[2]

PREPARED = {
    "puppets.num_train": 24,
    "puppets.num_valid": 4,
    "puppets.num_test": 4,
    "puppets.trace_share": 1.0,
    "puppets.teacher_error": 0.0,
    "puppets.sarcasm": 0.0,
    "prepare.workers": 1,
    "cross.data": "",
    "stages": ["prepare"],
}
# updates follow the gradient's size where it is small: Adam alone would make +-1 of a rounding
SIZES = {
    "stages": ["sft", "grpo"],
    "cross.data": "",
    "sampling.max_completion_length": 24,
    "sft.max_steps": 2,
    "sft.batch_size": 8,
    "sft.micro_batches": 2,
    "sft.eval_every": 2,
    "sft.save_every": 1,
    "sft.trainable": "lora",
    "evaluate.batch_size": 4,
    "sft.optimizer.warmup": 0.0,
    "lora.rank": 4,
    "lora.targets": ["q_proj", "v_proj", "o_proj", "down_proj"],
    "grpo.max_steps": 3,
    "grpo.prompts_per_step": 8,
    "grpo.group_size": 2,
    "grpo.micro_batches": 2,
    "grpo.save_every": 1,
    "grpo.optimizer.warmup": 0.0,
    "reward.plugins": ["shared_reward:letters"],
    "hint.threshold": -5.0,
    "hint.truncated_as_fail": False,
}

PLUGIN = '''
"""A reward for letters; far below zero, and so hard, for the clips that HARD names. At the clip STOP_AT the process is
told to stop."""
import json
import os
import signal

HARD = set(json.loads(os.environ.get("HARD", "[]")))


def letters(text, parsed, sample):
    if sample["id"] == os.environ["STOP_AT"]:
        os.kill(os.getpid(), signal.SIGTERM)
    return sum(c.isalpha() for c in text) / max(len(text), 1) - 10 * (sample["id"] in HARD)
'''


def small_config(ids: dict[str, int], vocab_size: int, bridged: bool = False) -> ThinkerConfig:
    """One layer of everything, two heads."""
    return replace(
        tiny_config(ids, vocab_size, bridged),
        text=TextConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            mrope_section=(2, 3, 3),
            rope_theta=1e4,
        ),
        audio=AudioConfig(
            d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=64, n_window=64, output_dim=32
        ),
        vision=VisionConfig(
            depth=1, hidden_size=32, intermediate_size=64, num_heads=2, fullatt_block_indexes=(0,), out_hidden_size=32
        ),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class World:
    """The data and policy that all runs share, and a place for their work directories."""

    root: Path

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    @property
    def fields(self) -> dict:
        return SIZES | {
            "policy": str(self.path("policy")),
            "data": str(self.path("world/records/train")),
            "traces": str(self.path("traces.jsonl")),
        }

    def config(self, fields: dict) -> Config:
        """The config of a job, as its processes read it."""
        return runpy.run_path(str(WORKER))["config_of"](fields)

    def start(
        self, jobs: dict[str, dict], processes: int, devices: int, hard=(), each=None, workdirs=None, stop_at=""
    ) -> list[subprocess.Popen]:
        """Starts a group of processes, which run the jobs (work directory -> fields) one after the other.

        each, workdirs: process -> fields, and work directory, of its own."""
        name, port, started = "-".join(jobs), free_port(), []
        for process in range(processes):
            listed = [
                {
                    "workdir": str(self.path((workdirs or {}).get(process, directory))),
                    "cache": str(self.path("cache")),
                    "fields": fields | (each or {}).get(process, {}),
                }
                for directory, fields in jobs.items()
            ]
            file = self.path(f"{name}.{processes}.{process}.json")
            file.write_text(json.dumps(listed))
            environment = os.environ | {
                "JAX_PLATFORMS": "cpu",
                "JAX_NUM_CPU_DEVICES": str(devices),
                "HARD": json.dumps(list(hard)),
                "STOP_AT": stop_at,
                "PYTHONPATH": os.pathsep.join(map(str, (self.root, ROOT, os.environ["PYTHONPATH"]))),
            }
            if processes > 1:
                environment |= {
                    "NNODES": str(processes),
                    "NODE_RANK": str(process),
                    "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                }
            with open(file.with_suffix(".out"), "w") as out:
                started.append(
                    subprocess.Popen(
                        [sys.executable, str(WORKER), str(file)], env=environment, stdout=out, stderr=subprocess.STDOUT
                    )
                )
        return started

    def run(self, jobs: dict[str, dict], processes: int, devices: int, **options) -> tuple[list[int], str]:
        """(exit codes, what all of them printed) of a group of processes."""
        codes = [process.wait(1200) for process in self.start(jobs, processes, devices, **options)]
        name = "-".join(jobs)
        return codes, "".join(self.path(f"{name}.{processes}.{p}.out").read_text() for p in range(processes))


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    world.path("shared_reward.py").write_text(PLUGIN)
    codes, output = world.run({"world": PREPARED}, 1, 1)
    assert codes == [0], output
    records = world.path("world/records/train")
    texts = [entry.text for split in ("train", "valid") for entry in read_index(records, split)]
    traces = [
        {"id": entry.id, "polarity": str(polarity_of(entry.score, 0.0)), "think": "1.", "score": round(entry.score, 1)}
        for entry in read_index(records, "train")
    ]
    world.path("traces.jsonl").write_text("".join(json.dumps(trace) + "\n" for trace in traces))
    texts += [
        f"<polarity>{p}</polarity>\n<think>1.</think>\n<score>0.5</score>" for p in ("Positive", "Negative", "Neutral")
    ] * 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "tiny_config", small_config)
        tiny.make_tiny(world.path("policy"), texts, 0, 512)
    return world
