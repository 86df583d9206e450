"""Serve the demo until Ctrl-C, and say where."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import uvicorn

from hardtack import EndedSessions
from hardtack.cli.demo.app import create_app


class _Server(uvicorn.Server):
    """Says where it listens as soon as it does."""

    address = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"hardtack demo: {self.address}", flush=True)


def serve(host: str, port: int, store: Any = None, ended: EndedSessions | None = None) -> None:
    """Serve until interrupted; port 0 takes any that is free. Raises `OSError` where it cannot listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        server = _Server(
            uvicorn.Config(create_app(store, ended), log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        )
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        server.address = f"http://{shown}:{listener.getsockname()[1]}/"
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn closes everything, then raises the signal again
            server.run(sockets=[listener])
