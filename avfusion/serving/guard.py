"""Check every request before it is handled, and add security headers to every answer."""

import asyncio
import ipaddress
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Guard:
    """Refuses requests that a browser sends on behalf of another site, and puts security headers on every answer.

    A page of another site can send requests to this server and, through its own host name pointed here (DNS rebinding),
    even read the answers. So a request must name this server by an IP address or one of `names`, and its origin, if
    given, must be this server's own page.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], policy: str) -> None:
        self._app = app
        self._names = {name.lower() for name in names}
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or pass it on."""
        if scope["type"] != "http":
            return

        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        if refusal := self._refusal(scope):
            await _answer(send_with_headers, *refusal)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the server is stopping and waits no longer for this request
            if not begun:
                await _answer(send_with_headers, 503, "the server is stopping")

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        hosts = [value.decode("latin-1").lower() for value in headers.get(b"host", [])]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return 400, "the header Host names another server: open the address that `avfusion serve` printed"
        for origin in headers.get(b"origin", []):
            if _place(origin.decode("latin-1").lower()) != hosts[0]:
                return 403, "requests of other sites' pages are refused"
        if headers.get(b"sec-fetch-site", [b"none"])[0] == b"cross-site" and scope["method"] not in ("GET", "HEAD"):
            return 403, "requests of other sites' pages are refused"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True


def _place(origin: str) -> str:
    """Host and port of an origin; empty if it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # "http://["
        return ""


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
