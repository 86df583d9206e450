"""What the two cookie engines share: a save changes the key, which is the cookie."""

from __future__ import annotations

from hardtack.frameworks.django import base


class SessionStore(base.SessionStore):
    """A session in its cookie."""

    def save(self, must_create: bool = False) -> None:
        """Seal the session; its key is then the new cookie. Raises `SessionTooLarge`, `UnsupportedValue`."""
        super().save(must_create)
        self.modified = True  # as in Django: the response is to carry the new cookie

    async def asave(self, must_create: bool = False) -> None:
        """`save` under async code."""
        await super().asave(must_create)
        self.modified = True
