"""The page and its JSON API, as a Starlette application."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import jax
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve import clips, pictures, uploads
from refinenet_jax.inference.serve.folder import work_folder
from refinenet_jax.inference.serve.guard import Guard
from refinenet_jax.inference.serve.limits import Limits
from refinenet_jax.inference.serve.worker import Worker

_LINES = "application/x-ndjson"
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/page_draw.js": ("page_draw.js", "text/javascript"),
}


def create_app(
    segmenter: Segmenter, limits: Limits, name: str, host: str = "127.0.0.1", names: Sequence[str] = ()
) -> ASGIApp:
    """The application; one of them at a time uses the network.

    Args:
      segmenter: the network.
      limits: of requests.
      name: of the network, to be shown.
      host: name or address that is listened at.
      names: further names that the server is known by.
    """
    api = _Api(segmenter, limits, name)
    app = Starlette(
        routes=[
            *(Route(path, _file(*about)) for path, about in _FILES.items()),
            Route("/healthz", _health),
            Route("/api/model", api.model),
            Route("/api/segment", api.picture, methods=["POST"]),
            Route("/api/video", _Raw(api.clip), methods=["POST"]),
        ],
        exception_handlers={
            HTTPException: _tell,
            UsageError: _tell_usage,
            ClientDisconnect: _tell_nobody,
            Exception: _tell_of_fault,
        },
        lifespan=api.lifespan,
    )
    return Guard(app, host, tuple(names))  # around all of it: answers to faults pass it too


class _Api:
    def __init__(self, segmenter: Segmenter, limits: Limits, name: str):
        self._segmenter, self._limits, self._name = segmenter, limits, name

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        with work_folder() as self._folder:
            self._worker = Worker(self._limits.waiting)
            try:
                yield
            finally:
                self._worker.close()

    async def model(self, request: Request) -> Response:
        network = self._segmenter
        limits = self._limits
        return JSONResponse(
            {
                "name": self._name,
                "parameters": sum(leaf.size for leaf in jax.tree.leaves(network.variables["params"])),
                "classes": pictures.classes(network.class_names),
                "scales": list(network.scales),
                "longest_side": network.longest_side,
                "flip": network.flip,
                "limits": {
                    "picture": {"megabytes": limits.picture_megabytes, "megapixels": limits.picture_megapixels},
                    "clip": {
                        "megabytes": limits.clip_megabytes,
                        "megapixels": limits.clip_megapixels,
                        "seconds": limits.clip_length,
                        "frames": limits.clip_frames,
                    },
                },
            }
        )

    async def picture(self, request: Request) -> Response:
        """A picture -> JSON, or its mask (Accept: image/png), or its overlay (Accept: image/jpeg)."""
        limits, encoded = self._limits, bytearray()
        with self._worker.place():
            await uploads.receive(request, limits.picture_megabytes, limits.upload_seconds, encoded.extend)
            accepted = _accepted(request)

            def work() -> Response:
                image = pictures.decode(bytes(encoded), limits.picture_megapixels)
                if "image/png" in accepted:
                    return Response(pictures.mask_png(self._segmenter(image)), media_type="image/png")
                if "image/jpeg" in accepted:
                    return Response(pictures.overlay_jpeg(self._segmenter(image)), media_type="image/jpeg")
                return JSONResponse(pictures.answer(self._segmenter, image))

            return await self._worker.run(request, limits.picture_seconds, work)

    async def clip(self, request: Request, send: Send) -> None:
        """A clip -> JSON, its overlay (Accept: video/mp4), the table of its frames (text/csv), or lines of JSON that tell of
        progress, the last of which is the answer (application/x-ndjson)."""
        limits, progress, accepted = self._limits, clips.Progress(), _accepted(request)
        with self._worker.place():
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                with (folder / clips.NAME).open("xb") as file:
                    await uploads.receive(request, limits.clip_megabytes, limits.upload_seconds, file.write)
                with self._worker.start(
                    lambda stop: clips.segment(self._segmenter, folder, limits, progress, stop)
                ) as job:
                    lines = _Lines(send) if _LINES in accepted else None
                    try:
                        async for _ in job.ticks(request, limits.clip_seconds):
                            if lines and progress.total is not None:
                                await lines.tell({"frames": progress.frames, "of": progress.total})
                        result = job.result()
                    except (HTTPException, ClientDisconnect) as error:
                        if not (lines and lines.begun):
                            raise
                        if isinstance(error, HTTPException):  # too late for its status
                            await lines.end({"error": error.detail})
                        return
                    if lines:
                        await lines.end(await asyncio.to_thread(result.answer))
                        return
                    if "video/mp4" in accepted:
                        response = FileResponse(result.overlay, media_type=result.overlay_type)
                    elif "text/csv" in accepted:
                        response = FileResponse(result.table, media_type="text/csv")
                    else:
                        response = JSONResponse(await asyncio.to_thread(result.answer))
                    await response(request.scope, request.receive, send)
            finally:
                # The worker may still be writing the last frame into it.
                self._worker.afterwards(shutil.rmtree, folder, True)


class _Raw:
    """A route whose answer is sent while what it is made of is still there."""

    def __init__(self, endpoint):
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint(Request(scope, receive), send)


class _Lines:
    """An answer of lines, each of them JSON, sent one by one."""

    def __init__(self, send: Send):
        self._send = send
        self.begun = False

    async def tell(self, value: dict[str, Any]) -> None:
        await self._line(value, more=True)

    async def end(self, value: dict[str, Any]) -> None:
        await self._line(value, more=False)

    async def _line(self, value: dict[str, Any], more: bool) -> None:
        if not self.begun:
            self.begun = True
            headers = [(b"content-type", _LINES.encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        body = json.dumps(value).encode() + b"\n"
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _accepted(request: Request) -> set[str]:
    return {part.split(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")}


def _file(name: str, media_type: str):
    content = resources.files(__package__).joinpath(name).read_bytes()

    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _tell(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _tell_usage(request: Request, error: UsageError) -> Response:
    return JSONResponse({"error": str(error)}, 422)


async def _tell_nobody(request: Request, error: ClientDisconnect) -> None:
    """The client is gone."""


async def _tell_of_fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "The server failed; its terminal tells why."}, 500)
