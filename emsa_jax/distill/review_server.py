"""The server of `review`, which only this machine can reach, and only with its token.

Requests must name the server as 127.0.0.1 or localhost, which a page from elsewhere cannot do (DNS rebinding), and
carry the token: the page in its URL, every other request in a header.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from emsa_jax.distill.review import Desk

MOST_BYTES = 1 << 20  # of a request
_STATUS = {"saved": 200, "conflict": 409, "invalid": 422}


class ReviewServer(ThreadingHTTPServer):
    """Serves a desk at `url`.

    media: sample id -> {"frames": [(data URI, words)], "sound": data URI or ""}. page: a reviewer's name to begin with
    -> the page, as UTF-8 HTML. port: 0 for any that is free.
    """

    daemon_threads = True

    def __init__(
        self, desk: Desk, media: Callable[[str], dict[str, Any]], page: Callable[[str], bytes], port: int = 0
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.desk, self.media, self.page, self.token = desk, media, page, secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_address[1]}" for name in ("127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/?token={self.token}"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "review", ""
    timeout = 60

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        page = parts.path == "/"
        if not self._allowed(query.get("token", "") if page else self.headers.get("x-token", "")):
            return
        by, desk = query.get("by", ""), self.server.desk
        if page:
            self._send(200, self.server.page(by or f"reviewer-{secrets.token_hex(2)}"), "text/html; charset=utf-8")
        elif parts.path == "/api/next":
            self._item(desk.next(by, query.get("after", "")))
        elif parts.path == "/api/item" and query.get("id") in desk.ids():
            self._item(desk.view(query["id"]))
        else:
            self._json(404, {"notes": ["there is no such thing"]})

    def do_POST(self) -> None:
        try:
            size = int(self.headers.get("content-length", ""))
        except ValueError:
            size = -1
        if not 0 <= size <= MOST_BYTES:
            self.close_connection = True
            return self._json(413, {"notes": ["too large"]})
        content = self.rfile.read(size)
        if not self._allowed(self.headers.get("x-token", "")):
            return
        try:
            body = json.loads(content)
            fields = {name: body[name] for name in ("id", "by", "verdict", "version", "answer", "reason")}
            sound = isinstance(fields["version"], int) and all(
                isinstance(value, str) for name, value in fields.items() if name != "version"
            )
        except (ValueError, LookupError, TypeError, RecursionError):
            sound = False
        if self.path != "/api/decide" or not sound:
            return self._json(400, {"notes": ["no decision"]})
        result = self.server.desk.decide(**fields)
        self._json(_STATUS[result.status], {"notes": list(result.notes), "version": result.version})

    def _allowed(self, token: str) -> bool:
        """Whether the request comes from our page. If it does not, this answers it."""
        host, origin = self.headers.get("host", ""), self.headers.get("origin")
        if (
            host in self.server.hosts
            and hmac.compare_digest(token.encode(), self.server.token.encode())
            and (origin is None or origin in {f"http://{one}" for one in self.server.hosts})
        ):
            return True
        self.close_connection = True
        self._json(403, {"notes": ["open the address that the command printed, with its token"]})
        return False

    def _item(self, seen: dict[str, Any] | None) -> None:
        item = seen and seen | self.server.media(seen["id"])
        self._json(200, {"item": item, "counts": self.server.desk.counts()})

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("content-type", kind),
            ("content-length", str(len(content))),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Logs nothing, since a request's line holds the token."""
