"""An address that leads to one server, and later to another; connections that exist stay where they are.

It can also confuse those who ask: the answer to one key comes to who asked for another.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Switch:
    """What a managed service puts before a primary and its replica. `target` is the port that new connections go to."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._confused: set[socket.socket] = set()
        self._swapped: tuple[bytes, bytes] | None = None
        self._always = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self.accepted += 1
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except ConnectionRefusedError:  # there is no server behind the address just now
                    client.close()
                    continue
                self._open += [client, server]
                if self._always:
                    self._confused |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def swap(self, one: str, other: str, *, always: bool) -> None:
        """Who asks for one key of two of one length is answered what is under the other, and the other way round.

        `always`: not only over the connections that exist, but over new ones as well.
        """
        self._swapped = one.encode(), other.encode()
        self._always = always
        self._confused = set(self._open)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._swapped is not None and source in self._confused:
                    one, other = self._swapped
                    data = other.join(part.replace(other, one) for part in data.split(one))
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Close every connection that exists, as a load balancer does with idle ones."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close everything."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.drop()
        for each in self._open:
            each.close()


@contextmanager
def switch(target: int) -> Iterator[Switch]:
    """A `Switch`, closed at the end."""
    made = Switch(target)
    try:
        yield made
    finally:
        made.close()
