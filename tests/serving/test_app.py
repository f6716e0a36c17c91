"""The server as the official client sees it, and as those see it who send it anything else."""

import asyncio
import base64
import errno
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openai
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emsa_jax.errors import InputError
from emsa_jax.serving.clip_reader import ClipReader
from emsa_jax.serving.questions import ask_about
from emsa_jax.serving.server import token_of
from emsa_jax.serving.serving_options import ServeOptions
from tests.serving.conftest import Running


def data(path):
    return base64.b64encode(path.read_bytes()).decode()


def video(served, place=0):
    return {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data(served.clips[place])}"}}


def text(words):
    return {"type": "text", "text": words}


@pytest.fixture(scope="module")
def client(running):
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def asked(served):
    """The questions of `ServedWorld.asked`, as content of a message. The second names its sound by audio_url."""
    sound = {"type": "audio_url", "audio_url": {"url": f"data:audio/mp4;base64,{data(served.clips[1])}"}}
    return [[video(served), text("good day to you")], [text("good day"), sound], "to you"]


def ask(client, content, **fields):
    return client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": content}], **fields)


def post(running, body, **options):
    body = body if isinstance(body, bytes | str) else json.dumps(body)
    return requests.post(f"{running.url}/v1/chat/completions", data=body, timeout=60, **options)


def compiled(running):
    (line,) = (
        one
        for one in requests.get(f"{running.url}/metrics").text.splitlines()
        if one.startswith("emsa_compilations_total")
    )
    return float(line.split()[-1])


def test_answers_are_those_of_an_evaluation(served, running, asked, evaluated):
    before = compiled(running)

    async def all_at_once():
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, one, logprobs=True, top_logprobs=4) for one in asked))

    for row, reply in enumerate(asyncio.run(all_at_once())):
        choice, ended = reply.choices[0], bool(evaluated.ended[row, 0])
        length = evaluated.length[row, 0]
        found = choice.logprobs.content
        wanted = evaluated.logps[row, 0, : length - ended]
        np.testing.assert_allclose([one.logprob for one in found], wanted, atol=1e-4)
        names = [served.opened.checkpoint.tokenizer.decode([id]) for id in evaluated.tokens[row, 0, : length - ended]]
        assert [one.token for one in found] == names and all(len(one.top_logprobs) == 4 for one in found)
        assert choice.finish_reason == ("stop" if ended else "length")
        assert reply.usage.completion_tokens == length
    assert compiled(running) == before  # of any kind of question


def test_a_stream_says_what_the_whole_reply_says(client, asked):
    whole = ask(client, asked[0], temperature=1, seed=3)
    chunks = list(ask(client, asked[0], temperature=1, seed=3, stream=True, stream_options={"include_usage": True}))
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(filter(None, said)) == whole.choices[0].message.content
    assert len(list(filter(None, said))) > 1 and chunks[-1].usage == whole.usage and chunks[-1].choices == []
    last = chunks[-2]
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    told, other = last.model_extra["emsa"], whole.model_extra["emsa"]
    assert {k: v for k, v in told.items() if "seconds" not in k} == {
        k: v for k, v in other.items() if "seconds" not in k
    }
    assert told["seen"] == {"frames": 4, "frame_rate": 3.2, "audio_seconds": 1.22, "text": "good day to you"}
    assert told["score_range"] == [-1.0, 1.0] and told["well_formed"] is False


def test_log_probabilities_stream_too(client, asked):
    fields = {"logprobs": True, "top_logprobs": 1, "max_tokens": 7}
    whole = ask(client, asked[2], **fields).choices[0].logprobs.content
    chunks = [chunk.choices[0] for chunk in ask(client, asked[2], stream=True, **fields) if chunk.choices]
    streamed = [one for choice in chunks if choice.logprobs for one in choice.logprobs.content]
    assert [one.token for one in streamed] == [one.token for one in whole]


def test_answers_as_json(client, asked):
    reply = ask(client, asked[2], response_format={"type": "json_object"})
    assert json.loads(reply.choices[0].message.content) == {"polarity": None, "score": None, "reasoning": None}
    schema = {"type": "object", "properties": {"score": {"type": "number"}}}
    asked_for = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    chunks = list(ask(client, asked[2], response_format=asked_for, stream=True))
    assert [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content] == ['{"score": null}']


def test_several_answers_differ_and_a_seed_repeats_them(client, asked):
    first, second = (ask(client, asked[2], n=3, temperature=1.0, seed=5) for _ in range(2))
    said = [choice.message.content for choice in first.choices]
    assert said == [choice.message.content for choice in second.choices] and len(set(said)) == 3
    assert len(first.model_extra["emsa"]["choices"]) == 3
    assert ask(client, asked[2], temperature=1.0, seed=6).choices[0].message.content not in said


def test_an_answer_stops_where_it_is_to_stop(client, asked):
    said = ask(client, asked[2], temperature=1.0, seed=5).choices[0].message.content
    cut = ask(client, asked[2], temperature=1.0, seed=5, stop=said[3:5]).choices[0]
    assert (cut.message.content, cut.finish_reason) == (said[: said.index(said[3:5])], "stop")
    assert ask(client, asked[2], max_completion_tokens=2).usage.completion_tokens == 2


def test_the_prompt_is_the_policys_own_or_the_chat_as_it_stands(served, client, asked):
    own = ask(client, asked[0], extra_body={"show_prompt": True}).model_extra["emsa"]["prompt"]
    assert own["ids"] == ask_about(served.opened, served.asked[0]).row.tokens
    raw = ask(client, asked[0], extra_body={"show_prompt": True, "raw": True}).model_extra["emsa"]["prompt"]["text"]
    assert "Judge" in own["text"] and "Judge" not in raw and "good day to you" in raw
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": asked[0]}]
    reply = client.chat.completions.create(model="tiny", messages=chat, extra_body={"show_prompt": True})
    shown = reply.model_extra["emsa"]["prompt"]
    assert "be brief" in shown["text"] and [one["kind"] for one in shown["media"]] == ["video", "audio"]


def test_a_file_below_the_root_is_as_good_as_its_bytes(running, client, served, asked):
    path = running.server.options.media_root + "/clip.mp4"
    named = {"type": "video_url", "video_url": {"url": f"file://{path}"}}
    found = ask(client, [named, text("good day to you")], logprobs=True)
    assert found.choices == ask(client, asked[0], logprobs=True).choices


def test_models_and_counters(running, client):
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == ("tiny", "emsa_jax") and client.models.retrieve("tiny") == model
    assert model.model_extra["emsa"]["modalities"] == ["text", "audio", "video"]
    assert requests.get(f"{running.url}/health").json() == {"status": "ok"}
    assert requests.get(running.url).text == "<p>"
    counters = requests.get(f"{running.url}/metrics").text
    for name in (
        "emsa_requests_total{",
        "emsa_request_seconds_bucket{",
        'emsa_tokens_total{kind="answer"}',
        "emsa_waiting 0",
    ):
        assert name in counters


SOUND = {"data": "AAAA"}
AGE = {"name": "a", "schema": {"properties": {"age": {}}}}
GOOD = {"model": "tiny", "messages": [{"role": "user", "content": "good day"}], "max_tokens": 1}


def with_parts(*parts):
    return GOOD | {"messages": [{"role": "user", "content": list(parts)}]}


def medium(kind, url):
    return {"type": kind, kind: {"url": url}}


@pytest.mark.parametrize(
    "body, status, told",
    [
        (b"{", 400, "no JSON"),
        (b"\xff", 400, "no JSON"),
        ("[" * 100_000, 400, "no JSON"),
        ('{"temperature": NaN}', 400, "no JSON"),
        ([], 400, "JSON object"),
        ({}, 400, "messages must be a list"),
        (GOOD | {"model": None}, 400, "model must name"),
        (GOOD | {"model": "gpt"}, 404, "there is no model 'gpt'"),
        (GOOD | {"messages": []}, 400, "messages must be"),
        (GOOD | {"messages": [{"role": "tool", "content": "x"}]}, 400, "messages[0].role"),
        (GOOD | {"messages": GOOD["messages"] * 2}, 400, "raw=true"),
        (GOOD | {"n": 0}, 400, "n must be"),
        (GOOD | {"n": 4}, 400, "n must be"),
        (GOOD | {"n": True}, 400, "n must be"),
        (GOOD | {"temperature": -1}, 400, "temperature must be"),
        (GOOD | {"top_logprobs": 2}, 400, "needs logprobs"),
        (GOOD | {"stop": [""]}, 400, "stop must be"),
        (GOOD | {"tools": [{}]}, 400, "tools is not supported"),
        (GOOD | {"frequency_penalty": 0.5}, 400, "frequency_penalty is not supported"),
        (GOOD | {"response_format": {"type": "xml"}}, 400, "response_format.type"),
        (GOOD | {"response_format": {"type": "json_schema", "json_schema": AGE}}, 400, "'age'"),
        (GOOD | {"stream_options": {}}, 400, "stream_options"),
        (with_parts({"type": "refusal"}), 400, "type must be one of"),
        (with_parts(text(" ")), 400, "neither text nor media"),
        (with_parts(medium("video_url", "data:video/mp4;base64,%%%")), 400, "no base64"),
        (with_parts(medium("video_url", "data:video/mp4;base64,")), 400, "empty"),
        (with_parts(medium("video_url", "data:video/mp4;base64,AAAA")), 400, "content[0]: video"),
        (with_parts(medium("image_url", "data:image/png;base64,AAAA")), 400, "content[0]: video"),
        (with_parts({"type": "input_audio", "input_audio": SOUND | {"format": "wav"}}), 400, "content[0]: sound"),
        (with_parts({"type": "input_audio", "input_audio": SOUND}), 400, "data and format"),
        (with_parts(medium("image_url", "http://127.0.0.1/x.png")), 400, "nothing is fetched"),
        (with_parts(medium("video_url", "file:///etc/passwd")), 400, "no such file below"),
        (with_parts(medium("video_url", "file:///nowhere\x00")), 400, "no such file below"),
        (GOOD | {"messages": [{"role": "user", "content": "word " * 500}]}, 400, "there is room for 192"),
        (GOOD | {"messages": [{"role": "user", "content": "x" * 600_000}]}, 413, "larger than 0.5 MB"),
    ],
)  # fmt: skip
def test_errors_are_told_as_openai_tells_them(running, body, status, told):
    reply = post(running, body)
    error = reply.json()["error"]
    assert reply.status_code == status and told in error["message"], error
    assert error.keys() == {"message", "type", "param", "code"} and error["type"].endswith("error")


def test_two_videos_and_a_picture_that_is_none_are_refused(served, running):
    reply = post(running, with_parts(video(served), video(served, 1)))
    assert reply.status_code == 400 and "2 videos" in reply.json()["error"]["message"]
    picture = medium("image_url", f"data:image/png;base64,{data(served.clips[0])}")
    assert "it is no picture" in post(running, with_parts(picture)).json()["error"]["message"]


@pytest.mark.parametrize("path, status", [("/v1/chat/completions", 405), ("/v2", 404), ("/v1/models/x", 404)])
def test_other_addresses_are_told_so_too(running, path, status):
    reply = requests.get(running.url + path)
    assert reply.status_code == status and reply.json()["error"]["message"]


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_pages_of_other_sites_are_refused(running, headers):
    for path in ("/", "/health", "/v1/models", "/metrics"):
        reply = requests.get(running.url + path, headers=headers)
        assert reply.status_code == 403 and reply.json()["error"]["type"] == "permission_error"
    assert (
        requests.get(f"{running.url}/health", headers={"Host": "localhost", "Origin": running.url}).status_code == 200
    )


def test_pages_of_other_local_servers_may_read_what_is_answered(running):
    """As the page of one server does that asks a second policy: a browser asks first, and without the token."""
    origin = {"Origin": "http://localhost:8001"}
    asks = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    reply = requests.options(f"{running.url}/v1/chat/completions", headers=asks)
    assert reply.status_code == 204 and "authorization" in reply.headers["access-control-allow-headers"]
    models, broken = requests.get(f"{running.url}/v1/models", headers=origin), post(running, "{", headers=origin)
    for one in (reply, models, broken):
        assert one.headers["access-control-allow-origin"] == origin["Origin"] and one.headers["vary"] == "origin"
    asks["Origin"] = "https://evil.example"
    reply = requests.options(f"{running.url}/v1/chat/completions", headers=asks)
    assert reply.status_code == 403 and "access-control-allow-origin" not in reply.headers
    assert "access-control-allow-origin" not in requests.get(f"{running.url}/health").headers


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PARTS = st.sampled_from(["text", "image_url", "video_url", "audio_url", "input_audio", "refusal"])
URLS = st.sampled_from(["data:;base64,AAAA", "data:video/mp4;base64,AA=A", "file:///etc/hosts", "http://x", ""])
FIELDS = (
    "model messages stream n temperature top_p max_tokens max_completion_tokens stop seed logprobs top_logprobs raw "
    "response_format language show_prompt stream_options tools logit_bias modalities"
).split()


@st.composite
def bodies(draw):
    """A body that is right but for some fields, or for some of its parts."""
    body = json.loads(json.dumps(GOOD))
    if draw(st.booleans()):
        kinds = draw(st.lists(PARTS, max_size=3))
        parts = [
            {"type": kind, kind: draw(VALUES | URLS.map(lambda url: {"url": url, "data": url, "format": "wav"}))}
            for kind in kinds
        ]
        role = draw(st.sampled_from(["user", "system", "assistant", "developer"]))
        body["messages"] = [{"role": role, "content": parts}, *body["messages"]][draw(st.integers(0, 1)) :]
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
        body[name] = draw(VALUES)
    return body


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=bodies())
def test_whatever_is_sent_no_fault_comes_of_it(running, body):
    reply = post(running, body)
    assert reply.status_code in (200, 400, 404, 413), (reply.status_code, reply.text)
    assert "emsa" in reply.text if reply.status_code == 200 else reply.json()["error"]["message"]


def test_who_finds_the_queue_full_is_told_when_to_come_again(running, served, monkeypatch):
    engine = running.server.service.completions.engine
    monkeypatch.setattr(engine, "max_queue", 0)
    reply = post(running, GOOD)
    assert reply.status_code == 429 and int(reply.headers["retry-after"]) >= 1
    assert reply.json()["error"]["type"] == "rate_limit_error"


def test_who_goes_is_not_waited_for(running, monkeypatch):
    """A client that hangs up ends its answer; one that takes too long is told so."""
    service = running.server.service
    engine, held = service.completions.engine, threading.Event()
    begin = engine.programs.begin
    monkeypatch.setattr(engine.programs, "begin", lambda *given: held.wait(20) and begin(*given))
    works = []
    submit = engine.submit
    monkeypatch.setattr(engine, "submit", lambda given: (works.extend(given), submit(given)))
    with pytest.raises(requests.exceptions.Timeout):
        requests.post(f"{running.url}/v1/chat/completions", json=GOOD, timeout=0.5)
    monkeypatch.setattr(service, "timeout_seconds", 0.3)
    assert post(running, GOOD).status_code == 504
    reply = post(running, GOOD | {"stream": True})
    assert reply.status_code == 200 and '"code": "timeout"' in reply.text
    deadline = time.monotonic() + 10
    while not all(work.cancelled for work in works) and time.monotonic() < deadline:
        time.sleep(0.02)
    held.set()
    assert len(works) == 3 and all(work.cancelled for work in works)


def test_a_token_opens_what_is_closed_without(served):
    other = Running(served, token="a-secret", port=0)
    try:
        for headers in ({}, {"Authorization": "Bearer a-secre"}):
            assert requests.get(f"{other.url}/v1/models", headers=headers).status_code == 401
            assert requests.get(f"{other.url}/metrics", headers=headers).status_code == 401
        other.ready()
        with openai.OpenAI(base_url=f"{other.url}/v1", api_key="a-secret", max_retries=0) as client:
            assert ask(client, "good day").usage.completion_tokens
        with pytest.raises(openai.AuthenticationError):
            ask(openai.OpenAI(base_url=f"{other.url}/v1", api_key="no", max_retries=0), "good day")
    finally:
        other.stop()


def test_what_is_under_way_is_answered_when_the_server_is_to_stop(served):
    other = Running(served).ready()
    with openai.OpenAI(base_url=f"{other.url}/v1", api_key="none", max_retries=0) as client:
        chunks = ask(client, "good day", stream=True, temperature=1.0)
        next(iter(chunks))
        begun = time.monotonic()
        other.server.handle_exit(15, None)
        rest = list(chunks)
        assert rest[-1].choices[0].finish_reason in ("stop", "length")
    other.thread.join(15)
    assert not other.thread.is_alive() and time.monotonic() - begun < 15
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"{other.url}/health")
    assert not other.server.service.completions.engine.alive


def test_words_that_no_prompt_has_room_for_are_refused_before_they_are_tokenized(running, monkeypatch):
    def never(*_):
        raise AssertionError("these words must not reach the tokenizer")

    monkeypatch.setattr("emsa_jax.serving.completions.ask_about", never)
    monkeypatch.setattr("emsa_jax.serving.completions.as_it_stands", never)
    body = {**GOOD, "messages": [{"role": "user", "content": "word " * 80_000}]}
    for fields in ({}, {"raw": True}):
        reply = post(running, body | fields)
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "prompt_too_long", reply.text


def test_a_full_disk_is_no_fault_of_the_server(running, served, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/place")

    monkeypatch.setattr("emsa_jax.serving.completions.tempfile.TemporaryDirectory", full)
    reply = post(running, with_parts(video(served)))
    assert reply.status_code == 503 and reply.json()["error"]["code"] == "no_room"
    assert "disk is full" in reply.text and "secret" not in reply.text and reply.headers["retry-after"]
    monkeypatch.undo()
    assert post(running, GOOD).status_code == 200


@pytest.mark.parametrize("host, status", [("", 200), ("localhost", 200), ("other.example", 400), ("..", 400)])
def test_a_file_address_of_another_host_names_no_file(running, monkeypatch, host, status):
    root = Path(running.server.options.media_root)
    (root / host.replace("localhost", "")).mkdir(exist_ok=True)
    monkeypatch.chdir(root)  # below which a relative path would be found
    place = f"{root}/clip.mp4" if status == 200 else "/../clip.mp4"
    if host == "..":
        place = f"/{root.name}/clip.mp4"
    assert post(running, with_parts(medium("video_url", f"file://{host}{place}"))).status_code == status


def test_a_token_of_the_environment_that_no_header_can_hold_is_refused(monkeypatch):
    for token in ("sécret", "secret\n"):
        monkeypatch.setenv("EMSA_TOKEN", token)
        with pytest.raises(InputError, match="EMSA_TOKEN: only visible ASCII"):
            token_of(ServeOptions())


def test_the_end_does_not_wait_for_a_clip_that_decodes_for_long(served):
    """A process that says nothing: whoever waits for it is told so at once when the decoders are to stop."""
    with ClipReader(served.opened.prepare, 60.0) as reader:
        reader.start()
        process = reader._decoders._workers[0]._process
        os.kill(process.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as threads:
            clip = threads.submit(reader.read, video=str(served.clips[0]))
            try:
                time.sleep(0.2)
                reader.stop()
                with pytest.raises(InputError, match="decoding was stopped"):
                    clip.result(10)
            finally:  # where it was not stopped, the thread would wait for it for ever
                process.kill()
        assert process.poll() is not None
