"""A server for the demo page that follows OpenAI's protocol: it serves the page, answers by the name of the model, and
keeps every request. Its one answer is what the embedded teacher writes about a clip whose words mislead.

    python tests/report/demo_server.py      # prints its address, and serves until Ctrl+C

  emsa      as our own server answers, with the key `emsa`, in pieces
  plain     as any other server does: a text in pieces, and nothing beside it
  whole     the same, in one object, as servers do that stream nothing
  prose     a text without tags
  slow      begins, and never ends
  broken    ends in the middle of a stream
  N         the status N, such as 429
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "open sesame"
TEXT = (
    "<polarity>Negative</polarity>\n<think>1. words: good. 2. face: mild frown. 3. voice: falling, slow. "
    "4. face and voice decide.</think>\n<score>-1.2</score>"
)
PROSE = "They sound glad."
EMSA = {
    "polarity": "Negative",
    "score": -1.2,
    "score_range": [-3.0, 3.0],
    "sentiment": None,
    "reasoning": "1. words: good. 2. face: mild frown. 3. voice: falling, slow. 4. face and voice decide.",
    "well_formed": True,
    "notes": [],
    "seen": {"frames": 10, "frame_rate": 8.0, "audio_seconds": 1.2, "text": ""},
    "prompt": {
        "text": "<|im_start|>user\n<|VIDEO|>Judge the speaker's sentiment",
        "tokens": 93,
        "ids": [1, 2],
        "media": [{"kind": "video", "first": 4, "tokens": 20}, {"kind": "audio", "first": 24, "tokens": 30}],
    },
    "seconds": 0.4,
    "queue_seconds": 0.0,
}
ABOUT = {"format": "dc", "score_range": [-3.0, 3.0], "language": "en", "modalities": ["text", "audio", "video"]}
STATUSES = ("400", "403", "404", "413", "429", "500", "504")


class DemoServer(ThreadingHTTPServer):
    """page: what GET / answers. compiling: after how many looks at /health it is done. token: whether one is
    wanted. modalities: what the policy "emsa" says that it takes."""

    daemon_threads = True

    def __init__(self, page: bytes = b""):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page, self.asked, self.compiling, self.token = page, [], 0, False
        self.modalities, self.delay = ABOUT["modalities"], 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer

    def do_OPTIONS(self):
        self._send(204, b"")

    def do_GET(self):
        if self.path == "/":
            return self._send(200, self.server.page, "text/html; charset=utf-8")
        if self.path == "/health":
            self.server.compiling, compiling = max(0, self.server.compiling - 1), bool(self.server.compiling)
            return self._json(503 if compiling else 200, {"status": "compiling" if compiling else "ok"})
        if self.path == "/v1/models" and self._allowed():
            names = ("emsa", "plain", "whole", "prose", "slow", "broken", *STATUSES)
            about = ABOUT | {"modalities": self.server.modalities}
            models = [{"id": name, **({"emsa": about} if name == "emsa" else {})} for name in names]
            return self._json(200, {"object": "list", "data": models})
        self._json(404, {"error": {"message": "no such path"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        if not self._allowed():
            return None
        if self.server.compiling:
            return self._json(503, {"error": {"message": "still compiling"}})
        model = body["model"]
        if model.isdigit():
            return self._json(int(model), {"error": {"message": f"reason of {model}"}}, {"retry-after": "7"})
        if model == "whole":
            return self._json(200, {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]})
        parts = body["messages"][-1]["content"]
        return self._stream(model, "".join(part["text"] for part in parts if part["type"] == "text"))

    def _stream(self, model, words):
        self._send(200, None, "text/event-stream")
        text = PROSE if model == "prose" else TEXT
        for at in range(0, len(text), 9):
            self._event({"choices": [{"delta": {"content": text[at : at + 9]}, "finish_reason": None}]})
            time.sleep(self.server.delay)
            if at > 40 and model == "slow":
                time.sleep(60)
            if at > 40 and model == "broken":
                return
        last = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        self._event(last | ({"emsa": EMSA | {"seen": EMSA["seen"] | {"text": words}}} if model == "emsa" else {}))
        self._event({"choices": [], "usage": {"completion_tokens": 31}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value):
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def _allowed(self):
        if self.server.token and self.headers["authorization"] != f"Bearer {TOKEN}":
            self._json(401, {"error": {"message": "no token"}})
            return False
        return True

    def _json(self, status, value, headers=()):
        self._send(status, json.dumps(value).encode(), "application/json", headers)

    def _send(self, status, content, kind="text/plain", headers=()):
        self.send_response(status)
        more = {"access-control-allow-origin": "*", "access-control-allow-headers": "*", **dict(headers)}
        for name, value in {"content-type": kind, **more}.items():
            self.send_header(name, value)
        if content is not None:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        if content:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    from emsa_jax.report.demo_page import demo_page

    print(DemoServer(demo_page()).url, flush=True)
    threading.Event().wait()
