"""Stores keep sessions on the server; `from_url` makes the one that a URL names. Each store has a module of its own."""

from hardtack.stores.registry import from_url

__all__ = ["from_url"]
