"""What the sync and the async connections to memcached have in common: tickets, servers, and what a lost answer means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiomcache.exceptions import ClientException
from pymemcache.client.rendezvous import RendezvousHash  # type: ignore[import-untyped]
from pymemcache.exceptions import MemcacheServerError  # type: ignore[import-untyped]

T = TypeVar("T")


class _Answer:
    """An answer of ours in the place of the server's."""


UNKNOWN: Final = _Answer()
"""To a save by a ticket that may be of another server process; nothing was sent."""

LOST: Final = _Answer()
"""To a write that was sent twice, and refused the second time: the first one may have been carried out."""

WRITES: Final = ("add", "cas", "save", "delete", "delete_under")


class Ticket(NamedTuple):
    """A cas number, and when the store asked for it, by its own count."""

    number: Any
    moment: int


class Servers(Generic[T]):
    """The servers by name, and which of them has a key: always the same one, also while it is down."""

    def __init__(self, servers: dict[str, T], hasher: Any) -> None:
        self._servers = servers
        self._hasher = hasher
        self._only = next(iter(servers.values())) if len(servers) == 1 else None

    def of(self, name: bytes) -> T:
        """The server that has the key."""
        return self._only if self._only is not None else self._servers[self._hasher.get_node(name)]

    def all(self) -> Iterable[T]:
        """All of them."""
        return self._servers.values()


def place(servers: dict[str, T]) -> Servers[T]:
    """Servers that are hashed as pymemcache's `HashClient` does it."""
    return Servers(servers, RendezvousHash(nodes=list(servers)))


def is_full(error: BaseException) -> bool:
    """Whether the server says that it has no memory: it was started with -M, or cannot drop anything."""
    return isinstance(error, MemcacheServerError | ClientException) and "out of memory" in str(error)
