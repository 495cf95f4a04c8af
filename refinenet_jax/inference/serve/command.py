"""`refinenet-jax serve`: starts the server from the command line."""

import argparse
import dataclasses
import ipaddress
import os
import shutil
import socket
import tempfile
from pathlib import Path

import numpy as np

from refinenet_jax.errors import UsageError, require_extra
from refinenet_jax.inference import network_options
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve.results import Limits
from refinenet_jax.progress import say

_LONGEST_SIDE = 640  # pixels, for a network that was stored with none: uploads of any size take a bounded time
_SHUTDOWN_SECONDS = 2  # after Ctrl-C, for open connections


_EXAMPLES = """examples:
  refinenet-jax serve
  refinenet-jax serve --checkpoint=runs/hands --port=7860
  refinenet-jax serve --host=0.0.0.0 --allowed-hosts hands.example.org
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command-line arguments of `refinenet-jax serve`."""
    parser.usage = "refinenet-jax serve [options]"
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, _EXAMPLES
    network_options.add_arguments(parser.add_argument_group("network"))
    address = parser.add_argument_group("address")
    address.add_argument(
        "--host", default="127.0.0.1", help="address of the server (default: %(default)s, this machine only)"
    )
    address.add_argument("--port", type=int, default=8000, help="port; 0 for a free one (default: %(default)s)")
    address.add_argument(
        "--allowed-hosts",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further accepted names in the Host header, such as a proxy's; * for any",
    )
    limits = parser.add_argument_group("limits")
    for limit in dataclasses.fields(Limits):
        limits.add_argument(
            f"--{limit.name.replace('_', '-')}",
            type=type(limit.default),
            default=limit.default,
            help=f"{limit.metadata['help']} (default: %(default)g)",
        )


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM; returns the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="refinenet-jax-serve-"))
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder)}  # read on import
    try:
        limits = Limits(**{limit.name: getattr(args, limit.name) for limit in dataclasses.fields(Limits)})
        with require_extra("serve", "refinenet-jax serve"):
            import uvicorn

            from refinenet_jax.inference.serve.page import create_app
        with _listen(args.host, args.port) as listener:
            checkpoint = network_options.checkpoint(args)
            segmenter = Segmenter.from_checkpoint(checkpoint, **network_options.options(args))
            if not segmenter.longest_side:
                segmenter = dataclasses.replace(segmenter, longest_side=_LONGEST_SIDE)
            say(f"{checkpoint.name}: preparing the network for a longest side of {segmenter.longest_side} pixels ...")
            segmenter(np.zeros((480, 640, 3), np.uint8))  # the most common shape of pictures and webcams
            app = create_app(segmenter, limits, checkpoint.name, folder, args.host, args.allowed_hosts)
            _announce(args.host, listener.getsockname()[1])
            config = uvicorn.Config(
                app,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
            uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        say("stopped")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Opens the port before the network is loaded, so that a port in use is reported at once."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((address[0], port), family=family)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--host={host} --port={port} is not available ({error}). Give another --port (0 for a free one) or --host."
        ) from error


def _announce(host: str, port: int) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        say(
            f"warning: everyone who can reach {host} can use this server, without a password or encryption. Browsers do not "
            "allow webcams on http pages of other machines."
        )
    shown = "localhost" if loopback else f"[{host}]" if ":" in host else host
    say(f"Open http://{shown}:{port} (Ctrl-C stops the server)")
