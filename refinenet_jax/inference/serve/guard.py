"""What every request passes: where it comes from, what browsers may do with the answer, and a line about it."""

import asyncio
import ipaddress
import time
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refinenet_jax.progress import say

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = {
    # The page and its files, what the page makes of answers (blob:), and nothing from anywhere else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_LONGEST_PATH = 100  # characters of it in the log
_GONE = 499  # as web servers note a client that did not wait


class Guard:
    """ASGI middleware.

    It refuses, before anything else is read, requests to a name that is not the server's, so that another web site cannot
    reach it by pointing its own name here (DNS rebinding), and requests that a page of another site makes (Origin).
    """

    def __init__(self, app: ASGIApp, host: str, names: tuple[str, ...] = ()):
        """Args:
        app: what answers.
        host: name or address that is listened at.
        names: further names that it is known by.
        """
        self._app = app
        self._names = _LOOPBACK | {name.lower() for name in (host, *names)}
        self._addresses = host not in _LOOPBACK  # an address in numbers cannot be somebody else's name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.monotonic(), 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        try:
            await (refusal or self._app)(scope, receive, guarded)
        except asyncio.CancelledError:  # Ctrl-C, and the request took longer than is waited for
            if not status:
                await JSONResponse({"error": "The server is being stopped."}, 503)(scope, receive, guarded)
        finally:
            path = quote(scope["path"])[:_LONGEST_PATH]  # what a client sends may steer a terminal
            say(
                f"{time.strftime('%H:%M:%S')} {scope['method']} {path} {status or _GONE} {time.monotonic() - begin:.2f} s"
            )

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_known(host):
            known = (
                f"This server is not known as {host[:_LONGEST_PATH]!r}; start it with --allow-host=NAME to let it be."
            )
            return JSONResponse({"error": known}, 421)
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return JSONResponse({"error": "Only this server's own page may ask it; another site's may not."}, 403)
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._names or (self._addresses and bool(ipaddress.ip_address(name)))
        except ValueError:
            return False
