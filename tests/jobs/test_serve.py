"""`serve` as a user starts it: mistakes end in one line; SIGTERM ends it in time, and is no error."""

import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from tests.serving.conftest import served  # noqa: F401

CONFIG = "configs/serve.py"


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "config.policy: name a policy directory"),
        (["policy=nowhere"], "config.policy: there is no directory nowhere"),
        (["policy=docs", "host=0.0.0.0"], "others can reach this server; say config.token"),
        (["policy=docs", "host=nowhere.invalid", "token=a"], "config.host: nowhere.invalid:8000 cannot be used"),
        (["policy=docs", "port=0", "cache="], "docs/config.json: cannot be read"),
        (["policy=docs", "media_root=nowhere"], "config.media_root: there is no directory nowhere"),
        (["policy=docs", "port=70000"], "port must be"),
    ],
)
def test_mistakes_end_in_one_line(started, monkeypatch, arguments, told):
    monkeypatch.delenv("EMSA_TOKEN", raising=False)
    status, _, err = started(*arguments, config=CONFIG)
    assert (status, err.count("\n"), err.startswith("error: ")) == (2, 1, True), err
    assert told in err


def test_a_port_in_use_is_told(started):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, err = started("policy=docs", f"port={taken.getsockname()[1]}", config=CONFIG)
    assert status == 2 and "cannot be used: Address already in use" in err and "config.port" in err


def begun(policy, **options):
    command = [sys.executable, "-m", "emsa_jax.main", f"--config={CONFIG}", f"--config.policy={policy}"]
    known = {"port": 0, "cache": "", "decoders": 1, "max_tokens": 64, "chunk": 1, "batch_size": 1, "buckets": "(192,)"}
    options = [f"--config.{name}={value}" for name, value in (known | options).items()]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("listening at http://127.0.0.1:"), line + process.stderr.read()
    return process, line.split()[2].rstrip(";")


def test_sigterm_is_a_usual_end_also_while_programs_are_compiled(served):  # noqa: F811
    process, url = begun(served.policy)
    assert requests.get(f"{url}/health").status_code == 503
    assert requests.post(f"{url}/v1/chat/completions", json={}).json()["error"]["code"] == "compiling"
    since = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0 and time.monotonic() - since < 15 and process.stderr.read() == ""


@pytest.mark.slow
def test_sigterm_lets_answers_end(served):  # noqa: F811
    process, url = begun(served.policy)
    while requests.get(f"{url}/health").status_code != 200:
        time.sleep(0.2)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "good day"}], "stream": True, "temperature": 1}
    with requests.post(f"{url}/v1/chat/completions", json=body, stream=True) as reply:
        lines = reply.iter_lines()
        next(lines)
        since = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert b"data: [DONE]" in list(lines)
    assert process.wait(15) == 0 and time.monotonic() - since < 15 and process.stderr.read() == ""
