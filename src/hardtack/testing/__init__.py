"""For tests: contracts that anyone's store, engine or adapter can inherit, and a test client with a session from the start.

Needs pytest: `pip install 'hardtack[testing]'`.
"""

from hardtack.testing.adapters import AdapterContract, Answer, Reply, asgi_client, wsgi_client
from hardtack.testing.channels import ChannelContract
from hardtack.testing.clients import acookie_header, cookie_header
from hardtack.testing.dbsc import DbscClient
from hardtack.testing.engines import EngineContract
from hardtack.testing.stores import (
    AsyncStoreContract,
    FindsContract,
    RenamesContract,
    StoreContract,
    SweepsContract,
)

__all__ = [
    "StoreContract",
    "AsyncStoreContract",
    "RenamesContract",
    "FindsContract",
    "SweepsContract",
    "EngineContract",
    "AdapterContract",
    "Reply",
    "Answer",
    "asgi_client",
    "wsgi_client",
    "DbscClient",
    "ChannelContract",
    "cookie_header",
    "acookie_header",
]
