"""`distill` as a client: what a served policy says through the wire is what a teacher's record holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from emsa_jax.answers.recorded_traces import read_record
from emsa_jax.data.puppets import PuppetWorld, make_puppets
from emsa_jax.data.records import RecordSource, read_index
from emsa_jax.distill.request_media import media_of
from emsa_jax.distill.teacher_options import TeacherOptions
from tests.distill.conftest import write_records
from tests.serving.conftest import Running

OWN_QUESTION = "\n---\n{{ utterance }}\n"  # without a system message the server asks the policy's own question


@pytest.fixture
def templates(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "dc.en.txt").write_text(OWN_QUESTION)
    return tmp_path / "templates"


def distilled(started, url, data, out, templates, **fields):
    known = {"data": data, "out": out, "templates": templates, "teacher.url": f"{url}/v1", "teacher.model": "tiny"}
    known |= {"teacher.video": "video", "teacher.audio": "audio_url", "teacher.retries": 1, "teacher.temperature": 1}
    arguments = [f"{name}={value}" for name, value in (known | fields).items()]
    status, said, err = started(*arguments, config="configs/distill.py")
    assert status == 0, err
    rows = [row for row in read_record(out / "record.jsonl") if row["kind"] == "attempt"]
    return json.loads(said.splitlines()[-1]), rows


def test_a_record_holds_what_the_policy_says(started, running, templates, tmp_path):
    write_records(tmp_path / "records", 3)
    fields = {"attempts": 2, "teacher.max_tokens": 9, "seed": 7}
    counts, rows = distilled(started, running.url, tmp_path / "records", tmp_path / "out", templates, **fields)
    assert len(rows) == 6 and counts["samples"]["kept"] == 0  # random weights write nothing that could be kept
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)
    options = TeacherOptions(video="video", audio="audio_url")
    places = {entry.id: i for i, entry in enumerate(read_index(tmp_path / "records", "train"))}
    for row in rows:
        record = RecordSource(tmp_path / "records", "train")[places[row["id"]]]
        content = [*media_of(record, True, True, options).parts, {"type": "text", "text": row["prompt"]["user"]}]
        same = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 9}
        reply = client.chat.completions.create(**same, temperature=1, seed=row["parameters"]["seed"])
        assert row["prompt"]["system"] == "" and reply.choices[0].message.content == row["answer"]
        assert reply.usage.completion_tokens == row["tokens"]["answer"]
    assert len({row["answer"] for row in rows}) == 6


@pytest.mark.slow
def test_a_trained_policy_teaches_through_the_wire(started, served, templates, tmp_path):
    """A tiny policy learns twelve clips by heart; asked through the server about them, it writes traces that are kept,
    and from these another one could learn."""
    world = PuppetWorld(num_train=12, num_valid=2, num_test=2, trace_share=1, teacher_error=0, sarcasm=0, noise=0)
    make_puppets(tmp_path / "puppets", world)
    run, data = tmp_path / "run", tmp_path / "puppets"
    fields = {"data": data, "score_range": "(-3.0,3.0)", "stages": "('prepare','sft')", "sft.max_steps": 150}
    fields |= {"sft.eval_every": 150, "sft.batch_size": 4}  # what is kept is the last policy, not the best of others
    fields |= {"prepare.max_pixels": 3136}
    command = [sys.executable, "-m", "emsa_jax.main", "--config=configs/sft.py", f"--workdir={run}"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], env=dict(os.environ))
    (policy,) = (run / "sft").glob("policy")
    teacher = Running(served, policy=str(policy), max_tokens=128, buckets=(256,), chunk=16).ready()
    try:
        fields = {"teacher.max_tokens": 128, "teacher.temperature": 0, "attempts": 1}
        counts, rows = distilled(started, teacher.url, run / "records" / "train", tmp_path / "out", templates, **fields)
    finally:
        teacher.stop()
    print(counts["samples"])
    assert len(rows) == 12 and counts["samples"]["kept"] >= 10
