"""Contract tests that anyone's store can inherit; needs pytest: `pip install 'hardtack[testing]'`."""

from hardtack.testing.stores import (
    AsyncStoreContract,
    FindsContract,
    RenamesContract,
    StoreContract,
    SweepsContract,
)

__all__ = ["StoreContract", "AsyncStoreContract", "RenamesContract", "FindsContract", "SweepsContract"]
