"""Servers that misbehave, for every store that talks to one: one never answers, one answers nonsense, one is not there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from tests.servers import free_port


@contextmanager
def _tcp_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give every connection to `serve`, in a thread of its own; the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    with ExitStack() as connections:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection = connections.enter_context(listener.accept()[0])
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture
def hanging_port() -> Iterator[int]:
    """A port whose server accepts connections and never answers."""
    with _tcp_server(lambda connection: None) as port:
        yield port


@pytest.fixture
def nonsense_port() -> Iterator[int]:
    """A port whose server answers everything, unasked too, with text that is no protocol."""

    def babble(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            while connection.recv(65536):
                connection.sendall(b"\xff\x00 nonsense\r\n" * 50)

    with _tcp_server(babble) as port:
        yield port


@pytest.fixture
def port_that_answers() -> Iterator[Callable[[bytes], int]]:
    """Makes ports whose server answers everything alike: of the protocol, and not what was asked for."""

    def start(reply: bytes) -> int:
        def answer(connection: socket.socket) -> None:
            with suppress(OSError):
                while connection.recv(65536):
                    connection.sendall(reply)

        return stack.enter_context(_tcp_server(answer))

    with ExitStack() as stack:
        yield start


@pytest.fixture
def hanging_up_port() -> Iterator[int]:
    """A port whose server closes the connection after the first bytes that it was sent."""

    def hang_up(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.recv(65536)
            connection.shutdown(socket.SHUT_RDWR)

    with _tcp_server(hang_up) as port:
        yield port


@pytest.fixture
def refusing_port() -> int:
    """A port that nobody listens on."""
    return free_port()


@pytest.fixture(params=["refusing_port", "hanging_port", "nonsense_port", "hanging_up_port"])
def broken_port(request: pytest.FixtureRequest) -> int:
    """Each of these ports."""
    port: int = request.getfixturevalue(request.param)
    return port
