"""The addresses of a server: chat completions, models, health, metrics, and a page to try it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from emsa_jax.serving.access import Access
from emsa_jax.serving.api_errors import ApiError
from emsa_jax.serving.chat_reply import event
from emsa_jax.serving.chat_request import read_request
from emsa_jax.serving.completions import Asking, Completions, stream
from emsa_jax.serving.metrics import Metrics

# answers to a browser that asks for a page of another address whether it may
_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}


@dataclass
class Service:
    """What the addresses share, and what becomes of it while the server lives.

    Attributes:
      completions: None until all programs are compiled.
      draining: whether the server takes no more questions.
      max_bytes: of a request; timeout_seconds: for one, from its last byte to the end of its answer.
      max_answers: to one request.
      page: what `GET /` answers, UTF-8 HTML that brings its own Content-Security-Policy.
    """

    access: Access
    metrics: Metrics
    max_bytes: int
    timeout_seconds: float
    max_answers: int
    page: bytes = b""
    completions: Completions | None = None
    draining: bool = False

    def ready(self) -> Completions:
        """Raises ApiError while questions cannot be answered."""
        if self.draining:
            raise ApiError(503, "the server is stopping", code="stopping")
        if self.completions is None:
            waits = {"retry-after": "5"}
            raise ApiError(503, "the server is still compiling; come again", code="compiling", headers=waits)
        return self.completions


def make_app(service: Service) -> ASGIApp:
    """The application of a service."""

    async def chat(request: Request) -> Response:
        service.ready()
        content = await _body(request, service)
        asked = read_request(content, service.max_answers)
        completions = service.ready()
        try:
            async with asyncio.timeout(service.timeout_seconds):
                asking = await completions.ask(asked)
                if asked.stream:
                    events = _timed(stream(asking), service.timeout_seconds)
                    return StreamingResponse(
                        events, media_type="text/event-stream", headers={"cache-control": "no-store"}
                    )
                return JSONResponse(await _whole(request, asking))
        except TimeoutError:
            raise ApiError(504, f"no answer within {service.timeout_seconds:g} s", code="timeout") from None

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(service.ready())]})

    async def model(request: Request) -> Response:
        completions = service.ready()
        if request.path_params["name"] != completions.name:
            raise ApiError(404, "there is no such model", "model", "model_not_found")
        return JSONResponse(_model(completions))

    async def health(_: Request) -> Response:
        state = "draining" if service.draining else "ok" if service.completions else "compiling"
        return JSONResponse({"status": state}, 200 if state == "ok" else 503)

    async def metrics(_: Request) -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(_: Request) -> Response:
        headers = {"content-security-policy": "frame-ancestors 'none'", "cache-control": "no-cache"}
        return HTMLResponse(service.page, headers=headers)

    routes = [
        Route("/", page),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
    handlers = {ApiError: _api_error, HTTPException: _http_error, ClientDisconnect: _gone, Exception: _fault}
    return _Guarded(Starlette(routes=routes, exception_handlers=handlers), service)


class _Guarded:
    """Looks at every request before it reaches an address, and counts what was answered."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        access, page = self.service.access, headers.get("origin")
        more = [(b"x-content-type-options", b"nosniff")]
        if page is not None and access.knows(page):  # so that a page of another local server may read the answer
            more += [(b"access-control-allow-origin", page.encode("latin-1")), (b"vary", b"origin")]
            more += [(b"access-control-expose-headers", b"retry-after")]

        async def counted(message: dict) -> None:
            if message["type"] == "http.response.start":
                self.service.metrics.requests.labels(str(message["status"])).inc()
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        asks_first = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        try:
            access.check("/" if asks_first else scope["path"], headers)  # which comes without the token
        except ApiError as error:
            return await _answered(error)(scope, receive, counted)
        if asks_first:
            return await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, counted)
        await self.app(scope, receive, counted)


async def _body(request: Request, service: Service) -> bytes:
    """The body of a request. Raises ApiError for one that is too large, or that does not come to an end."""
    most = service.max_bytes
    large = ApiError(
        413, f"the request is larger than {most / 1e6:g} MB", code="too_large", headers={"connection": "close"}
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise large
    content = bytearray()
    try:
        async with asyncio.timeout(service.timeout_seconds):
            async for part in request.stream():
                content += part
                if len(content) > most:
                    raise large
    except TimeoutError:
        raise ApiError(408, "the request did not come to an end in time", code="timeout") from None
    return bytes(content)


async def _whole(request: Request, asking: Asking) -> dict:
    """The reply, unless the client goes before it is made. Raises ApiError and ClientDisconnect."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    async def made() -> None:
        while not asking.is_done:
            await asking.next()

    tasks = [asyncio.ensure_future(one()) for one in (made, gone)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ClientDisconnect
        tasks[0].result()
        asking.count()
        return asking.whole()
    finally:
        asking.cancel()
        for task in tasks:
            task.cancel()


async def _timed(events: AsyncIterator[str], seconds: float) -> AsyncIterator[str]:
    """The events, and an error in place of those that come too late."""
    deadline = time.monotonic() + seconds
    async with contextlib.aclosing(events):
        while True:
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.001)):
                    one = await anext(events, None)
            except TimeoutError:
                yield event(ApiError(504, f"no answer within {seconds:g} s", code="timeout").body())
                return
            if one is None:
                return
            yield one


def _model(completions: Completions) -> dict:
    """The model, with what a client may want to know of how it is asked."""
    policy = completions.policy
    known = {
        "format": policy.format.name,
        "score_range": list(policy.format.score_range),
        "language": policy.language,
        "modalities": list(policy.modalities),
        "audio_in_video": policy.prompter.options.audio_in_video,
        "num_frames": policy.prepare.num_frames,
        "fps": policy.prepare.fps,
        "max_seconds": policy.prepare.max_seconds,
        "max_tokens": completions.engine.programs.slots,
    }
    head = {"id": completions.name, "object": "model", "created": completions.created, "owned_by": "emsa_jax"}
    return head | {"emsa": known}


def _answered(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body(), error.status, headers=error.headers)


async def _api_error(_: Request, error: Exception) -> Response:
    return _answered(error)


async def _http_error(_: Request, error: HTTPException) -> Response:
    """What Starlette itself refuses: no such address, or another method."""
    messages = {404: "there is no such address", 405: "this address takes other methods"}
    made = ApiError(error.status_code, messages.get(error.status_code, str(error.detail)), headers=error.headers)
    return _answered(made)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _fault(_: Request, error: Exception) -> Response:
    """A fault of ours, whose traceback Starlette raises further on, for the log."""
    return _answered(ApiError(500, f"this is a fault of the server ({type(error).__name__})", code="fault"))
