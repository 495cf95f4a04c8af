"""`refinenet-jax serve`: from the command line to a running server."""

import argparse
import dataclasses
import ipaddress
import os
import shutil
import socket
import tempfile
from pathlib import Path

import numpy as np

from refinenet_jax import pretrained
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import test_time
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve.results import Limits
from refinenet_jax.progress import say

_LONGEST_SIDE = 640  # pixels, for a network that was stored with none: uploads of any size take a bounded time
_PATIENCE = 2  # seconds that Ctrl-C leaves to open connections
_FLAGS = {
    "picture_megapixels": "most pixels of a picture, in millions",
    "upload_megabytes": "largest upload, in MB",
    "clip_length": "longest clip, in seconds",
    "clip_seconds": "longest time to work on a clip, in seconds",
    "upload_seconds": "longest time for an upload to arrive, in seconds",
    "waiting": "most requests in the queue",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `refinenet-jax serve`."""
    parser.add_argument(
        "--checkpoint", metavar="PATH", help="folder of a run, or a file of weights (default: the one in the package)"
    )
    parser.add_argument("--step", type=int, help="checkpoint to take; the best by default")
    test_time.add_arguments(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine alone)"
    )
    parser.add_argument("--port", type=int, default=8000, help="to listen at; 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--allowed-hosts",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further names in the Host header that are accepted, as of a proxy; * for any",
    )
    limits = parser.add_argument_group("limits")
    for name, what in _FLAGS.items():
        value = getattr(Limits, name)
        limits.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"{what} (default: %(default)g)"
        )


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM; returns the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="refinenet-jax-serve-"))
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder)}  # read on import
    try:
        limits = Limits(**{name: getattr(args, name) for name in _FLAGS})
        try:
            import uvicorn

            from refinenet_jax.inference.serve.page import create_app
        except ModuleNotFoundError as error:
            raise UsageError(f'{error.name} is missing. Install it: pip install "refinenet-jax[serve]".') from error
        with _listen(args.host, args.port) as listener:
            checkpoint = Path(args.checkpoint or pretrained.PATH)
            segmenter = Segmenter.from_checkpoint(checkpoint, step=args.step, **test_time.options(args))
            if not segmenter.longest_side:
                segmenter = dataclasses.replace(segmenter, longest_side=_LONGEST_SIDE)
            say(f"{checkpoint.name}: preparing the network for a longest side of {segmenter.longest_side} pixels ...")
            segmenter(np.zeros((480, 640, 3), np.uint8))  # of the shape that most pictures and webcams have
            app = create_app(segmenter, limits, checkpoint.name, folder, args.host, args.allowed_hosts)
            _announce(args.host, listener.getsockname()[1])
            config = uvicorn.Config(
                app,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=_PATIENCE,
            )
            uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        say("stopped")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Opens the port before the network is read, so that one in use is reported at once."""
    if not 0 <= port < 2**16:
        raise UsageError(f"--port={port} is no port; they go from 0 to {2**16 - 1}.")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        raise UsageError(f"--host={host} is no address of this machine ({error.strerror}).") from error
    except OSError as error:
        raise UsageError(
            f"{host}, port {port}, cannot be listened at ({error.strerror}). Give another --port, or 0 for any that is free."
        ) from error


def _announce(host: str, port: int) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        say(
            f"warning: anyone who reaches {host} can use this server: it asks for no password, and nothing is encrypted. "
            "Browsers give no webcam to pages over plain http from another machine."
        )
    shown = "localhost" if loopback else f"[{host}]" if ":" in host else host
    say(f"Open http://{shown}:{port} (Ctrl-C ends it)")
