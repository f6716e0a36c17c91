"""Requests: as the public client's own types have them, tried again when that makes sense, the key never told."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import TypeAdapter

from emsa_jax.answers.dc import DC
from emsa_jax.answers.recorded_traces import AnswerKey
from emsa_jax.data.records import RecordSource, read_index
from emsa_jax.distill.budget import Budget, OutOfBudget, Pace
from emsa_jax.distill.client import ChatClient, Unreachable, retry_after
from emsa_jax.distill.distill_plan import DistillPlan
from emsa_jax.distill.network import proxy_for, raise_file_limit
from emsa_jax.distill.progress import Spent, Step
from emsa_jax.distill.request_media import media_of
from emsa_jax.distill.teacher_options import BudgetOptions, FilterOptions, TeacherOptions
from emsa_jax.distill.teacher_prompts import read_prompts
from emsa_jax.errors import InputError

KEY = "sk-test-0123456789abcdef"


class Scripted:
    """A server that gives one raw response after the other, and keeps what it was sent."""

    def __init__(self, *responses):
        self.responses, self.heads, self.bodies, self.times = list(responses), [], [], []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(line.split(":")[1]) for line in head.split("\r\n") if "ength:" in line), 0)
                self.heads.append(head)
                self.bodies.append(json.loads(await reader.readexactly(length) or "null"))
                self.times.append(time.monotonic())
                response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
                if response is None:
                    return
                writer.write(response)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def http(status, content, *headers):
    content = content.encode()
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def said(text, finish="stop", **message):
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return http(200, json.dumps(body))


def ask(*responses, body=b"{}", monkeypatch=None, key=KEY, **options):
    """(Reply or the error, the server) of one request."""

    async def go():
        async with Scripted(*responses) as server:
            fields = {"url": server.url, "model": "m", "backoff_seconds": 0.01, "timeout_seconds": 5, **options}
            async with ChatClient(TeacherOptions(**fields)) as client:
                try:
                    return await client.ask(body), server
                except InputError as error:
                    return error, server

    if monkeypatch:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    return asyncio.run(go())


def test_an_answer(monkeypatch):
    reply, server = ask(said("yes"), monkeypatch=monkeypatch)
    assert (reply.answer, reply.finish, reply.prompt_tokens, reply.answer_tokens) == ("yes", "stop", 11, 7)
    assert f"authorization: Bearer {KEY}" in server.heads[0] and reply.requests == 1
    ChatCompletion.model_validate_json(said("yes").split(b"\r\n\r\n")[1])  # the test speaks the protocol, too


@pytest.mark.parametrize(
    "bad",
    [
        http(429, "{}", "retry-after: 0.01"),
        http(500, "oops"),
        http(503, ""),
        http(408, ""),
        None,
        http(200, "{"),
        http(200, "[]"),
        http(200, '{"choices": []}'),
        http(200, '{"choices": [{"message": {"content": 7}}]}'),
        http(200, '{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "x"}}'),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"no http at all\r\n\r\n",
    ],
)
def test_asked_again_until_there_is_an_answer(bad):
    reply, server = ask(bad, bad, said("yes"), timeout_seconds=0.5)
    assert (reply.answer, reply.requests, reply.error) == ("yes", 3, "")
    retries = [line.split(": ")[1] for head in server.heads for line in head.split("\r\n") if "retry-count" in line]
    assert retries == ["0", "1", "2"]


def test_given_up_after_so_many_retries():
    reply, server = ask(http(500, "oops"), retries=2)
    assert (reply.answer, reply.error, reply.requests, len(server.bodies)) == (None, "HTTP 500", 3, 3)


def test_a_request_that_is_refused_is_not_repeated():
    reply, server = ask(http(400, '{"error": {"message": "too long"}}'))
    assert (reply.answer, reply.error, len(server.bodies)) == (None, "HTTP 400", 1)


def test_a_refusal_is_an_answer():
    reply, _ = ask(said(None, refusal="no"))
    assert (reply.answer, reply.finish) == ("no", "refusal")
    reply, _ = ask(said([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))
    assert reply.answer == "ab"


def test_the_key_is_not_told(monkeypatch):
    reply, _ = ask(said(f"your key is {KEY}"), monkeypatch=monkeypatch)
    assert reply.answer == "your key is [key]"
    error, _ = ask(http(401, json.dumps({"error": {"message": f"bad key {KEY}"}})), monkeypatch=monkeypatch)
    assert isinstance(error, Unreachable) and "bad key [key]" in str(error) and KEY not in str(error)
    for fields in ({"key_env": KEY}, {"url": f"https://{KEY}@host/v1"}, {"url": f"https://host/v1?key={KEY}"}):
        with pytest.raises(InputError) as refused:
            TeacherOptions(**fields)
        assert KEY not in str(refused.value)


def test_nobody_there():
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="nothing answers at http://127.0.0.1:9/v1"):
        asyncio.run(_once(TeacherOptions(url="http://127.0.0.1:9/v1", model="m", backoff_seconds=0.01)))
    assert time.monotonic() - begun < 5


async def _once(options):
    async with ChatClient(options) as client:
        return await client.ask(b"{}")


def through(monkeypatch, url, *responses, credentials="", scheme="http://", **environment):
    """(Reply or the error, what the proxy was sent) of a request through a proxy that the environment names."""

    async def go():
        async with Scripted(*responses) as proxy:
            at = proxy.url.removesuffix("/v1").removeprefix("http://")
            monkeypatch.setenv(url.partition(":")[0] + "_proxy", f"{scheme}{credentials}{at}")
            options = TeacherOptions(url=url, model="m", retries=1, backoff_seconds=0.01)
            async with ChatClient(options) as client:
                try:
                    return await client.ask(b"{}"), proxy.heads
                except InputError as error:
                    return error, proxy.heads

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return asyncio.run(go())


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_through_a_proxy(monkeypatch, scheme):
    """With its own user and password, and never with the key in their place."""
    for credentials, sent in (("", []), ("me:p%3A%C3%A9@", ["Basic bWU6cDrDqQ=="])):
        reply, (head,) = through(
            monkeypatch, "http://teacher.invalid/v1", said("yes"), credentials=credentials, scheme=scheme
        )
        assert reply.answer == "yes" and head.startswith("POST http://teacher.invalid/v1/chat/completions ")
        lines = dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:] if line)
        assert lines.get("proxy-authorization", "") == "".join(sent).lower()


def test_a_proxy_does_not_see_the_key(monkeypatch):
    reply, heads = through(monkeypatch, "https://teacher.invalid/v1", None)
    assert reply.answer is None
    assert heads and all(head.startswith("CONNECT teacher.invalid:443 ") and KEY not in head for head in heads)


def test_which_proxy(monkeypatch):
    url = "http://teacher.invalid:8000/v1"
    monkeypatch.setenv("all_proxy", "proxy:3128")
    assert proxy_for(url) == ("http://proxy:3128", None)
    for spared in ("teacher.invalid", "invalid", "teacher.invalid:8000"):
        monkeypatch.setenv("no_proxy", spared)
        assert proxy_for(url) == (None, None)
    monkeypatch.setenv("no_proxy", "10.0.0.0/8")
    assert proxy_for("http://10.1.2.3/v1") == (None, None)
    monkeypatch.setenv("all_proxy", "socks5://user:secret@proxy:1080")
    with pytest.raises(InputError, match="names a socks5 proxy") as error:
        proxy_for(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("key", ["sk-1\n2", "sk-\u00e9", "sk-\x07"])
def test_a_key_that_no_header_can_hold(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="OPENAI_API_KEY") as error:
        ChatClient(TeacherOptions(url="http://teacher.invalid/v1", model="m"))
    assert "sk-" not in str(error.value)


def test_addresses_that_are_none():
    for url in ("http://h:0/v1", "http://h:99999/v1", "http://h:abc/v1", "http://[::1/v1"):
        with pytest.raises(InputError, match="teacher.url"):
            TeacherOptions(url=url, model="m")
    for url in ("http://a..b/v1", f"http://{'a' * 70}.com/v1"):
        with pytest.raises(Unreachable):
            asyncio.run(_once(TeacherOptions(url=url, model="m", backoff_seconds=0.01)))


def test_told_to_stop_it_waits_no_longer():
    """Retry-After may ask for minutes."""

    async def go():
        async with Scripted(http(429, "{}", "retry-after: 300")) as server:
            async with ChatClient(TeacherOptions(url=server.url, model="m")) as client:
                asyncio.get_running_loop().call_later(0.3, client.stopped.set)
                return await client.ask(b"{}", may_send=stop_after(1))

    def stop_after(number):
        left = [number]

        async def may_send():
            left[0] -= 1
            if left[0] < 0:
                raise OutOfBudget("interrupted")

        return may_send

    begun = time.monotonic()
    with pytest.raises(OutOfBudget):
        asyncio.run(go())
    assert time.monotonic() - begun < 5


def test_more_connections_than_files_may_be_open():
    with pytest.raises(InputError, match="teacher.concurrency 10000000 needs"):
        raise_file_limit(10_000_000)


def test_retry_after_holds_back_all_slots():
    async def go():
        async with Scripted(http(429, "", "retry-after: 0.5"), said("yes")) as server:
            async with ChatClient(TeacherOptions(url=server.url, model="m", backoff_seconds=0.01)) as client:
                first = asyncio.create_task(client.ask(b"{}"))
                while not server.times:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
                await client.ask(b"{}")
                await first
        return server.times

    times = asyncio.run(go())
    assert len(times) == 3 and min(times[1:]) - times[0] >= 0.45


def test_backoff_doubles_with_jitter():
    client = ChatClient(TeacherOptions(backoff_seconds=2, backoff_max=10), jitter=lambda: 0.0)
    assert [client._wait(made, 0) for made in range(4)] == [1, 2, 4, 5]
    client = ChatClient(TeacherOptions(backoff_seconds=2, backoff_max=10), jitter=lambda: 1.0)
    assert [client._wait(made, 0) for made in range(4)] == [2, 4, 8, 10]
    assert client._wait(0, 30.0) == pytest.approx(33.0)


def test_how_long_an_endpoint_asks_to_wait():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after({"retry-after": later}) <= 30
    assert [retry_after({"retry-after": value}) for value in ("2", "0.5", "-1", "nan", "soon", "", "1e9")] == [
        2.0,
        0.5,
        0.0,
        0.0,
        0.0,
        0.0,
        600.0,
    ]
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25


# ---- what a request holds ----


def bodies(world, frame_format="jpeg", **teacher):
    data, _ = world(6, {"frame_format": frame_format, "concepts": True})
    plan = DistillPlan(
        method="dc",
        format=DC((-3.0, 3.0)),
        prompts=read_prompts(("dc", "refine", "judge")),
        teacher=TeacherOptions(model="m", **teacher),
        filter=FilterOptions(),
        seed=5,
    )
    source, of = RecordSource(data, "train"), AnswerKey("write", 0, "w")
    for sample in plan.labelled(read_index(data, "train")):
        truth = sample.truth
        media = media_of(source[sample.index], "video" in truth.modalities, "audio" in truth.modalities, plan.teacher)
        for step in (Step("write", 0, None), Step("refine", 1, of), Step("judge", 0, of)):
            yield {**plan.parameters(step), "messages": plan.messages(step, sample, media, "an answer")[0]}


@pytest.mark.parametrize("limit_name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("frame_format", ["jpeg", "raw"])
def test_requests_are_what_the_public_client_sends(world, limit_name, frame_format):
    """Its types accept the messages, its method takes the parameters, and what it sends is what we send."""
    messages = TypeAdapter(list[ChatCompletionMessageParam])
    known = set(openai.types.chat.completion_create_params.CompletionCreateParamsBase.__annotations__)

    async def send(body):
        async with Scripted(said("yes")) as server:
            async with openai.AsyncOpenAI(base_url=server.url, api_key="k") as client:
                await client.chat.completions.create(**body)
            async with ChatClient(TeacherOptions(url=server.url, model="m")) as ours:
                await ours.ask(json.dumps(body).encode())
        theirs, our = server.bodies
        assert theirs == our

    sent = list(bodies(world, frame_format, limit_name=limit_name))
    for body in sent:
        for message in messages.validate_python(body["messages"], strict=True):
            if not isinstance(message["content"], str):
                list(message["content"])  # pydantic looks at the parts as they are taken
        assert body.keys() <= known
    for body in sent[:3]:
        asyncio.run(send(body))
    kinds = [part["type"] for part in sent[0]["messages"][-1]["content"]]
    assert kinds == ["image_url", "image_url", "input_audio", "text"]
    with pytest.raises(ValueError):
        list(messages.validate_python([{"role": "user", "content": [{"type": "image_url"}]}])[0]["content"])


def test_parts_of_other_servers(world):
    body = next(bodies(world, video="video", audio="audio_url", extra='{"modalities": ["text"]}'))
    parts = body["messages"][-1]["content"]
    assert [part["type"] for part in parts] == ["video_url", "audio_url", "text"]
    assert parts[0]["video_url"]["url"].startswith("data:video/mp4;base64,") and body["modalities"] == ["text"]


def test_nothing_is_sent_of_what_is_switched_off(world):
    body = next(bodies(world, video="none", audio="none", send_seed=False))
    assert [part["type"] for part in body["messages"][-1]["content"]] == ["text"] and "seed" not in body
    assert "picture" not in body["messages"][-1]["content"][0]["text"].split("There is no")[0]


# ---- what may be spent ----


def test_a_budget_counts_what_is_under_way():
    budget = Budget(BudgetOptions(requests=3, tokens=1000), Spent(requests=1, prompt_tokens=300))
    one = budget.reserve(200, 100)
    budget.reserve(200, 100)
    with pytest.raises(OutOfBudget, match="budget.requests=3"):
        budget.reserve(1, 1)
    with pytest.raises(OutOfBudget, match="requests"):
        budget.retry(one)
    budget.release(one, charged=400, estimated=200)
    assert budget.scale == 2.0
    with pytest.raises(OutOfBudget, match="budget.tokens=1000"):
        budget.reserve(300, 1)
    money = Budget(BudgetOptions(money=1.0, price_prompt=1.0, price_answer=10.0), Spent(prompt_tokens=500_000))
    money.reserve(100_000, 30_000)
    with pytest.raises(OutOfBudget, match="budget.money=1"):
        money.reserve(100_000, 10_001)


def test_a_pace_is_kept():
    async def go():
        pace, begun = Pace(600), time.monotonic()
        await asyncio.gather(*(pace.take() for _ in range(6)))
        return time.monotonic() - begun

    assert 0.45 <= asyncio.run(go()) < 2
