"""aiohttp-session's SimpleCookieStorage (2.12.1, shortened; see LICENSE.txt), as a storage of one's own on hardtack's names.

It trusts whatever the client sends, and so hardtack's storage of that name is another one; these tests plant its cookies.
"""

from __future__ import annotations

from aiohttp import web

from hardtack.frameworks.aiohttp import AbstractStorage, Session


class SimpleCookieStorage(AbstractStorage):
    """JSON in a cookie."""

    async def load_session(self, request: web.Request) -> Session:
        cookie = self.load_cookie(request)
        if cookie is None:
            return Session(None, data=None, new=True, max_age=self.max_age)
        return Session(None, data=self._decoder(cookie), new=False, max_age=self.max_age)

    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        self.save_cookie(response, self._encoder(self._get_session_data(session)), max_age=session.max_age)
