"""ASGI middleware for Gradio: accepted hosts and origins, limits of uploads, and a content security policy."""

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refinenet_jax.inference.serve.results import Limits

KEPT_SECONDS = 3600  # age at which uploads and results are removed
_MOST_UPLOADS = 20  # limit of the size of all files, in largest uploads
_WRITING = ("/upload", "/queue/join", "/call/")  # requests that write files
_FORM_BYTES = 100_000  # of a request besides its file
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = {
    # Gradio needs inline scripts and eval. Nothing is loaded from, or sent to, any other server.
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class Guard:
    """Refuses requests under a foreign name (DNS rebinding), from pages of other sites, and uploads beyond the limits."""

    def __init__(self, app: ASGIApp, host: str, allowed_hosts: Sequence[str], limits: Limits, folder: Path):
        """Stores the settings.

        Args:
          app: Gradio.
          host: name or address of the server.
          allowed_hosts: further names that browsers or proxies may use; "*" for any.
          limits: limits of uploads.
          folder: folder of Gradio's files.
        """
        self._app, self._limits, self._folder = app, limits, folder
        self._names = _LOOPBACK | {name.lower() for name in (host, *allowed_hosts)}
        self._addresses = host not in _LOOPBACK  # a numeric address cannot be the name of another site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal:
            await refusal(scope, receive, guarded)
            return
        # Gradio builds links from these headers, which a proxy may have replaced: with a dot they are relative.
        with suppress(KeyError):
            del headers["x-forwarded-host"]
        headers["x-gradio-server"] = "."
        try:
            async with asyncio.timeout(self._limits.upload_seconds if _is_upload(scope) else None):
                await self._app(scope, receive, guarded)
        except TimeoutError:
            if not begun:
                text = f"The upload did not arrive within {self._limits.upload_seconds:g} seconds."
                await PlainTextResponse(text, 408, {"Connection": "close"})(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if not self._is_known(f"//{host}"):
            return PlainTextResponse(f"This server is not known as {host[:100]!r}; start it with --allowed-hosts.", 421)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["path"].endswith("/process_recording"):  # Gradio's screen recorder runs ffmpeg without limits
            return PlainTextResponse("Not found.", 404)
        # Browsers send the origin of a request, which proxies do not change; over plain http it may be missing.
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        foreign = site not in ("same-origin", "none") if site else origin is not None and not self._is_known(origin)
        if foreign:
            return PlainTextResponse("Pages of other sites may not use this server.", 403)
        length = headers.get("content-length", "")
        if not length.isdecimal() and scope["method"] == "POST":
            return PlainTextResponse("The request has no Content-Length.", 411, {"Connection": "close"})
        if length.isdecimal() and int(length[:20]) > self._limits.upload_megabytes * 1e6 + _FORM_BYTES:
            text = f"The upload is larger than {self._limits.upload_megabytes:g} MB."
            return PlainTextResponse(text, 413, {"Connection": "close"})
        if any(part in scope["path"] for part in _WRITING) and not self._make_room():
            return PlainTextResponse("The server has too many files; try again later.", 503, {"Retry-After": "600"})
        return None

    def _make_room(self) -> bool:
        """Removes old files, including those of incomplete uploads; returns whether there is room for one more."""
        size = 0
        for path in self._folder.rglob("*"):
            with suppress(FileNotFoundError):
                about = path.stat()
                if path.is_file() and time.time() - about.st_mtime > KEPT_SECONDS:
                    path.unlink()
                else:
                    size += about.st_size
        return size < _MOST_UPLOADS * self._limits.upload_megabytes * 1e6

    def _is_known(self, url: str) -> bool:
        if "*" in self._names:
            return True
        try:
            name = urlsplit(url).hostname or ""
            return name in self._names or (self._addresses and bool(ipaddress.ip_address(name)))
        except ValueError:
            return False


def _is_upload(scope: Scope) -> bool:
    return scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload")
