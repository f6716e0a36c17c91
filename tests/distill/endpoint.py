"""A chat endpoint that speaks OpenAI's protocol and misbehaves on purpose. A program; it prints its port first.

What it does is a function of (sample, step, attempt, retry), and nothing else: a sample is the number in its utterance,
"#17"; an attempt is the request's seed; a retry is what the client says in x-stainless-retry-count. Only "varying"
answers differ each time. Every request is a line of the log when it arrives, and another when it was answered.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import re
import time

TRANSPORT = ("429", "500", "503", "slow", "cut", "cut_body", "malformed", "wrong_shape", "down")
CONTENT = (
    "wrong_format",
    "wrong_polarity",
    "wrong_sign",
    "leak",
    "short",
    "repeated",
    "silent",
    "foreign",
    "refusal",
    "cut_off",
    "varying",
)
FAULTS = TRANSPORT + CONTENT
_NUMBER = re.compile(r"#(\d+)")
_BASE = {"Positive": 0.6, "Neutral": 0.0, "Negative": -0.6}
_nonces = itertools.count()


def draw(*key) -> float:
    """A number in [0, 1) for a key."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") / 2**64


def fault(seed, sample, step, attempt, rate) -> str:
    """The fault of an attempt, "" for none."""
    if draw(seed, "is", sample, step, attempt) >= rate:
        return ""
    at = draw(seed, "which", sample, step, attempt) * (len(FAULTS) - 0.8)  # the slow ones are rarer: they cost seconds
    return "slow" if at < 0.2 else [what for what in FAULTS if what != "slow"][int(at - 0.2)]


def tries(seed, sample, step, attempt) -> int:
    """How often a fault of transport strikes before the answer comes."""
    return 1 + int(draw(seed, "times", sample, step, attempt) * 2)


def answer(seed, sample, step, attempt, what, polarity, asked) -> str:
    """What the teacher writes about a sample whose true polarity is given. asked: the prompt, which a judge goes by."""
    if step == "judge":
        return "unsound: the smile cannot be seen" if draw(seed, "judge", asked) < 0.3 else "sound"
    if "Overall, " in asked:
        return described(asked, step, what)
    if "<sentiment>" in asked:
        given = re.search(r"The speaker's sentiment: (.+)|true of the speaker: sentiment (.+?)[;.]", asked)
        return concepts(asked, given[1] or given[2], what)
    pick = [("bright", "plain", "harsh"), ("a smile", "a still face", "a frown"), ("rising", "even", "falling")]
    words, face, voice = (kinds[list(_BASE).index(polarity)] for kinds in pick)
    detail = int(draw(seed, "detail", sample, step, attempt) * 1000)
    think = (
        f"1. The words are {words}, remark {detail}. 2. The face shows {face} that stays. "
        f"3. The voice is {voice} towards the end. 4. Taken together they point one way."
    )
    if what == "wrong_polarity":
        polarity = "Negative" if polarity != "Negative" else "Positive"
    score = _BASE[polarity]
    if what == "wrong_sign":
        score = 0.4 if score <= 0 else -0.4
    if what == "leak":
        think += f" The label says {polarity.lower()}."
    if what == "short":
        think = "The words, face and voice."
    if what == "repeated":
        think = "The words, the face and the voice agree. " * 12
    if what == "silent":
        think = f"The words are {words}, remark {detail}, and nothing else was considered in this case, it seems."
    if what == "foreign":
        think = "文字平淡，表情平静，声音低沉，综合来看情感并不强烈，说话人态度一般。"
    if what == "varying":
        think += f" Seen for the time {next(_nonces)}."
    text = f"<polarity>{polarity}</polarity>\n<think>{think}</think>\n<score>{score}</score>"
    return {"wrong_format": think, "cut_off": text[:60]}.get(what, text)


def described(asked, step, what) -> str:
    """A description of cues with the sentiment that the prompt says is true; the one who merges tightens it."""
    sentiment = re.search(r"The speaker's sentiment: (.+)", asked)[1]
    if what == "wrong_polarity":
        sentiment = "Negative" if sentiment != "Negative" else "Positive"
    seen = "the corners of the mouth move." + " the brows are still." * (step == "write")
    heard = "the voice is steady and a little slow towards the end."
    leak = " The label says so." if what == "leak" else ""
    last = f"Overall, it points one way.{leak} The sentiment is {sentiment}."
    text = f"In the video, {seen}\nIn the audio, {heard}\n{last}"
    return {"wrong_format": seen, "cut_off": text[:60]}.get(what, text)


def concepts(asked, sentiment, what) -> str:
    """Reasons of what the prompt says is true, each concept marked as it is there."""
    marks = dict(re.findall(r"<(tone|facial_expression|speaking_style)>([\w ]+)</", asked.split("The explanation:")[0]))
    if what == "wrong_polarity":
        sentiment = "Negative" if sentiment != "Negative" else "Positive"
    if what == "wrong_sign":
        marks["tone"] = "happy" if marks["tone"] != "happy" else "sad"
    told = {name: f"<{name}>{label}</{name}>" for name, label in marks.items()}
    leak = " The label says so." if what == "leak" else ""
    return (
        f"<think>The face shows {told['facial_expression']}, the voice is {told['tone']} in tone, and the words "
        f"are {told['speaking_style']}, with <concept>a pause</concept> before the end.{leak}</think>\n"
        f"<sentiment>{sentiment}</sentiment>"
    )


class Endpoint:
    """The server. truths: sample number -> polarity."""

    def __init__(self, options, truths):
        self.options, self.truths = options, truths
        self.log = open(options.log, "a", buffering=1) if options.log else None
        self.open = self.most = self.kept = 0
        self.busy, self.since, self.first, self.last, self.answers = 0.0, None, None, 0.0, 0

    def note(self, **what):
        if self.log:
            self.log.write(json.dumps(what) + "\n")

    def count(self, change):
        """Adds up how many requests were open for how long."""
        now = time.monotonic()
        if self.since is not None:
            self.busy += self.open * (now - self.since)
        self.since, self.open = now, self.open + change
        if change:
            self.first, self.last = now if self.first is None else self.first, now
            self.answers += change < 0
        self.most = max(self.most, self.open)

    async def serve(self, reader, writer):
        try:
            while await self.request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def request(self, reader, writer) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        }
        path = head.split(" ", 2)[1]
        if path == "/busy":
            self.count(0)
            span = self.last - self.first if self.first is not None else 0.0
            await self.send(
                writer, 200, json.dumps({"busy": self.busy, "most": self.most, "span": span, "answers": self.answers})
            )
            return True
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        if not path.endswith("/chat/completions") or self.options.key not in headers.get("authorization", ""):
            message = f"Incorrect API key provided: {headers.get('authorization', '')}"
            await self.send(writer, 401, json.dumps({"error": {"message": message}}))
            return True
        self.count(1)
        try:
            return await self.reply(writer, body, int(headers.get("x-stainless-retry-count", 0)))
        finally:
            self.count(-1)

    async def reply(self, writer, body, retry) -> bool:
        text = body["messages"][-1]["content"][-1]["text"]
        system = body["messages"][0]["content"]
        sample, attempt = int(_NUMBER.search(text)[1]), body["seed"]
        step = "judge" if "check explanations" in system else "refine" if "You edit " in system else "write"
        key = (self.options.seed, sample, step, attempt)
        if self.options.bodies and self.kept < 40:
            self.kept += 1
            with open(self.options.bodies, "a") as file:
                file.write(json.dumps(body) + "\n")
        what = fault(*key, self.options.rate)
        self.note(sample=sample, step=step, attempt=attempt, retry=retry, arrived=time.time(), fault=what)
        await asyncio.sleep(self.options.delay)
        if what == "down" or what in TRANSPORT and retry < tries(*key):
            return await self.misbehave(writer, what)
        said = answer(*key, what, self.truths[sample], text)
        message = {"role": "assistant", "content": said}
        if what == "refusal":
            message |= {"content": None, "refusal": "I cannot judge people."}
        usage = {"prompt_tokens": 100 + len(text) // 4, "completion_tokens": len(said) // 4}
        choice = {"index": 0, "message": message, "finish_reason": "length" if what == "cut_off" else "stop"}
        response = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": usage | {"total_tokens": sum(usage.values())},
        }
        await self.send(writer, 200, json.dumps(response))
        self.note(sample=sample, step=step, attempt=attempt, retry=retry, answered=time.time())
        return True

    async def misbehave(self, writer, what) -> bool:
        if what in ("429", "503"):
            wait = f"retry-after: {self.options.wait}\r\n"
            await self.send(writer, int(what), '{"error": {"message": "later"}}', wait)
        elif what in ("500", "down"):
            await self.send(writer, 500, "<html>oops</html>")
        elif what == "malformed":
            await self.send(writer, 200, '{"choices": [{"message": {"content": "<polarity>')
        elif what == "wrong_shape":
            await self.send(writer, 200, '{"choices": [], "usage": null}')
        elif what == "slow":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(self.options.slow)
        elif what == "cut_body":
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"choices": [')
            await writer.drain()
        return what not in ("slow", "cut", "cut_body")

    async def send(self, writer, status, content, headers=""):
        content = content.encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: "
            f"{len(content)}\r\n\r\n".encode()
            + content
        )
        await writer.drain()


async def main():
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truths", required=True, help="a JSON list of polarities, one a sample")
    parser.add_argument("--log", default="")
    parser.add_argument("--bodies", default="", help="where to keep the first 40 request bodies")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0, help="share of attempts with a fault")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before an answer")
    parser.add_argument("--wait", type=float, default=0.05, help="Retry-After")
    parser.add_argument("--slow", type=float, default=0.1, help="seconds between bytes")
    parser.add_argument("--key", default="", help="what the authorization header has to hold")
    options = parser.parse_args()
    with open(options.truths) as file:
        truths = json.load(file)
    server = await asyncio.start_server(Endpoint(options, truths).serve, "127.0.0.1", 0, limit=2**26, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
