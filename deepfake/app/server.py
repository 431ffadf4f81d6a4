"""The page and its API over HTTP.

POST   /api/videos          multipart/form-data with the file in “video” -> 202 {"id", "url"}
GET    /api/videos/ID       {"id", "name", "status", "stage", "progress", "place", "message"}; when done also
                            what answer.Judge returns, with "files" as {name: address}
GET    /api/videos/ID/FILE  one of these files
DELETE /api/videos/ID       forgets a video -> 204

Errors are {"error": sentence}. The page says the same to its users.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive

from deepfake.app.guard import Guard, error
from deepfake.app.queue import Full, Job, Queue
from deepfake.app.uploads import FORM_BYTES, MB, Refused, receive, too_large
from deepfake.reports.model_facts import ModelFacts

DRAIN_S = 10
"""How long a refused upload is read on, unused: browsers show no answer before they have sent all."""
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox allow-popups"
)
log = logging.getLogger(__name__)


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
    async def working(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(queue.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    api = Api(queue, max_bytes=max_bytes)
    page = render("index.html.j2", about=about, queue=queue, max_mb=max_bytes / MB, max_seconds=max_seconds)

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
        middleware=[Middleware(Guard, host=host)],
        exception_handlers={
            HTTPException: said,
            Refused: refused,
            Full: full,
            ClientDisconnect: cut_off,
            Exception: unforeseen,
        },
        lifespan=working,
    )


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
        """Read what is left, for a while, so that its sender comes to read the answer."""
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
        except (Refused, Full):
            await body.drain()
            raise
        await self.queue.add(job)
        url = f"/api/videos/{job.id}"
        return JSONResponse({"id": job.id, "url": url}, 202, {"Location": url})

    async def get(self, request: Request) -> Response:
        """How far a video is, and its result."""
        return JSONResponse(told(self.job(request), self.queue))

    async def delete(self, request: Request) -> Response:
        """Forget a video: 204."""
        self.queue.remove(self.job(request))
        return Response(status_code=204)

    async def file(self, request: Request) -> Response:
        """A file of a result."""
        job, name = self.job(request), request.path_params["file"]
        if name not in job.answer.get("files", ()):
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


def told(job: Job, queue: Queue) -> dict[str, Any]:
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
        names = job.answer["files"]
        values |= {name: value for name, value in job.answer.items() if name != "files"}
        values["files"] = {name: f"/api/videos/{job.id}/{name}" for name in names}
    return values


def render(template: str, **values: Any) -> str:
    """A template of app/templates with values."""
    environment = Environment(
        loader=PackageLoader("deepfake.app", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


async def said(_: Request, err: Exception) -> Response:
    """Starlette's own errors, and 404."""
    assert isinstance(err, HTTPException)
    return error(err.status_code, err.detail, err.headers)


async def refused(_: Request, err: Exception) -> Response:
    """An upload that is not taken."""
    assert isinstance(err, Refused)
    return error(err.status, err.text)


async def full(_: Request, err: Exception) -> Response:
    """No more uploads for now."""
    return error(429, str(err), {"Retry-After": "30"})


async def cut_off(_: Request, err: Exception) -> Response:
    """An upload that its sender broke off, who hears nothing of this."""
    return error(400, "the upload broke off")


async def unforeseen(_: Request, err: Exception) -> Response:
    """A mistake of ours."""
    return error(500, f"an unforeseen error: {type(err).__name__}")
