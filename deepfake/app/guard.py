"""Who may ask the page: requests to our own names, and writes only from our own page."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


class Guard:
    """Lets only requests to our own names through, and writes only from our own page; adds HEADERS.

    A foreign page could otherwise reach us with a name of its own that it has made mean this machine.
    """

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self.app, self.host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {"Content-Security-Policy": POLICY, **HEADERS}.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        objection = self.objection(scope["method"], headers)
        app = self.app if objection is None else error(403, objection)
        await app(scope, receive, send_guarded)

    def objection(self, method: str, headers: Mapping[str, str]) -> str | None:
        """Why a request is refused, if it is."""
        named = headers.get("host", "")
        if not known_name(named, self.host):
            return f"this page does not answer to the name {named!r}: open it by its address"
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != named:
            return "requests from other sites are refused"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "requests from other sites are refused"
        return None


def known_name(named: str, bound: str) -> bool:
    """Whether a Host header is a name of ours, given the address that is listened on.

    Names that a foreign page can choose are refused. An address in numbers is none of these: it is taken
    where we listen on more than this machine itself.
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
    """An error as the API and the page tell it."""
    return JSONResponse({"error": text}, status, headers)
