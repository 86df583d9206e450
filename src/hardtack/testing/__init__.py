"""For tests: contracts that anyone's store or engine can inherit, and a test client with a session from the start.

Needs pytest: `pip install 'hardtack[testing]'`.
"""

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
    "DbscClient",
    "ChannelContract",
    "cookie_header",
    "acookie_header",
]
