"""The page and its API over HTTP.

POST   /api/videos          multipart/form-data with the file as “video” -> 202 {"id", "url"}
GET    /api/videos/ID       {"id", "name", "status", "stage", "progress", "place", "message"}; when it is done
                            also the result of jobs.UploadPredictor, with "files" as {name: address}
GET    /api/videos/ID/FILE  one of these files
DELETE /api/videos/ID       forgets a video -> 204

Errors are {"error": sentence}, which the page shows to its users. Only requests to our own names are
answered, and only our own page may write.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepfake.app.jobs import Job, Queue, QueueFull
from deepfake.app.uploads import FORM_BYTES, MB, Refused, receive, too_large
from deepfake.reports.html import environment
from deepfake.reports.predictions import ModelFacts

LOOPBACK = frozenset(["127.0.0.1", "localhost", "::1"])
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
CLOSING_S = 2
DRAIN_S = 10
"""How long a refused upload is read on, unused: browsers show no answer before they have sent all."""
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox allow-popups"
)


def make_app(
    queue: Queue,
    about: ModelFacts,
    *,
    host: str,
    max_bytes: int,
    max_seconds: float,
) -> Starlette:
    """The web application; about: the detector, for the page."""

    @asynccontextmanager
    async def run_queue(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(queue.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    api = Api(queue, max_bytes=max_bytes)
    template = environment("deepfake.app").get_template("index.html.j2")
    page = template.render(about=about, queue=queue, max_mb=max_bytes / MB, max_seconds=max_seconds)

    async def index(_: Request) -> Response:
        return HTMLResponse(page)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/api/videos", api.post, methods=["POST"]),
            Route("/api/videos/{id}", api.get, methods=["GET"]),
            Route("/api/videos/{id}", api.delete, methods=["DELETE"]),
            Route("/api/videos/{id}/{file}", api.file, methods=["GET"]),
            Mount("/static", StaticFiles(packages=[("deepfake.app", "static")])),
        ],
        middleware=[Middleware(OwnPageMiddleware, host=host)],
        exception_handlers=dict.fromkeys(
            (HTTPException, Refused, QueueFull, ClientDisconnect, Exception), error_response
        ),
        lifespan=run_queue,
    )


def run_server(app: Starlette, listener: socket.socket) -> None:
    """Serve an application on a socket until Ctrl-C; only the server's errors are logged."""
    import uvicorn

    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").addFilter(is_real_error)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=CLOSING_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


def is_real_error(record: logging.LogRecord) -> bool:
    """Whether a log record is of something else than a request that the end of the server cut off."""
    cut_off = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not (cut_off or str(record.msg).startswith("Cancel "))


class Body:
    """The bytes of a request."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.ended = receive, False

    async def chunks(self) -> AsyncIterator[bytes]:
        """As they come; raises ClientDisconnect."""
        while not self.ended:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self.ended = not message.get("more_body", False)
            yield message.get("body", b"")

    async def drain(self) -> None:
        """Read the rest, for a while, so that its sender comes to read the response."""
        with suppress(ClientDisconnect, TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                async for _ in self.chunks():
                    pass


class Api:
    """The requests about videos."""

    def __init__(self, queue: Queue, *, max_bytes: int) -> None:
        self.queue, self.max_bytes = queue, max_bytes

    async def post(self, request: Request) -> Response:
        """Take an upload in: 202 with its id."""
        body = Body(request.receive)
        try:
            with self.queue.arriving() as job:
                if int(request.headers.get("content-length", 0)) > self.max_bytes + FORM_BYTES:
                    raise too_large("the upload", self.max_bytes)
                job.upload, job.label = await receive(
                    body.chunks(),
                    request.headers.get("content-type", ""),
                    job.folder,
                    max_bytes=self.max_bytes,
                )
        except (Refused, QueueFull):
            await body.drain()
            raise
        await self.queue.add(job)
        url = f"/api/videos/{job.id}"
        return JSONResponse({"id": job.id, "url": url}, 202, {"Location": url})

    async def get(self, request: Request) -> Response:
        """How far a video is, and its result."""
        return JSONResponse(describe_job(self.job(request), self.queue))

    async def delete(self, request: Request) -> Response:
        """Forget a video: 204."""
        self.queue.remove(self.job(request))
        return Response(status_code=204)

    async def file(self, request: Request) -> Response:
        """A file of a result."""
        job, name = self.job(request), request.path_params["file"]
        if name not in job.result.get("files", ()):
            raise HTTPException(404, "no such file of this video")
        headers = {"Content-Security-Policy": REPORT_POLICY} if name.endswith(".html") else {}
        return FileResponse(job.folder / name, headers=headers)

    def job(self, request: Request) -> Job:
        """The job that a request is about, or 404."""
        job = self.queue.jobs.get(request.path_params["id"])
        if job is None:
            kept = f"results are kept for {self.queue.keep_minutes:g} minutes"
            raise HTTPException(404, f"there is no such video here: {kept}")
        return job


def describe_job(job: Job, queue: Queue) -> dict[str, Any]:
    """A job as its user sees it."""
    values: dict[str, Any] = {
        "id": job.id,
        "name": job.label,
        "status": job.status,
        "stage": job.stage,
        "progress": job.share,
        "place": queue.place(job),
        "message": job.message,
    }
    if job.status == "done":
        names = job.result["files"]
        values |= {name: value for name, value in job.result.items() if name != "files"}
        values["files"] = {name: f"/api/videos/{job.id}/{name}" for name in names}
    return values


async def error_response(_: Request, err: Exception) -> Response:
    """The JSON of whatever ended a request."""
    match err:
        case HTTPException():
            return error(err.status_code, err.detail, err.headers)
        case Refused():
            return error(err.status, err.text)
        case QueueFull():
            return error(429, str(err), {"Retry-After": "30"})
        case ClientDisconnect():  # whose sender does not read this
            return error(400, "the upload broke off")
    return error(500, f"an unforeseen error: {type(err).__name__}")


class OwnPageMiddleware:
    """Lets only requests to our own names through, and writes only from our own page; adds HEADERS.

    A foreign page could otherwise reach us by a name of its own that it lets resolve to this machine.
    """

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self.app, self.host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI defines it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {"Content-Security-Policy": POLICY, **HEADERS}.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refusal = self.refusal(scope["method"], headers)
        app = self.app if refusal is None else error(403, refusal)
        await app(scope, receive, send_with_headers)

    def refusal(self, method: str, headers: Mapping[str, str]) -> str | None:
        """Why a request is refused, or None."""
        host = headers.get("host", "")
        if not is_own_name(host, self.host):
            return f"this page does not answer to the name {host!r}: open it by its address"
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "requests from other sites are refused"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "requests from other sites are refused"
        return None


def is_own_name(named: str, bound: str) -> bool:
    """Whether a Host header is a name of ours, given the address that we are bound to.

    Names that a foreign page can choose are refused. An IP address is none of these: it is accepted where we
    are bound to more than the loopback address.
    """
    try:
        name = (urlsplit(f"//{named}").hostname or "").lower()
    except ValueError:
        return False
    if name in LOOPBACK or name == bound.lower():
        return True
    if bound in LOOPBACK:
        return False
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return name == socket.gethostname().lower()


def error(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error of the API."""
    return JSONResponse({"error": text}, status, headers)
