"""Cross-site requests: another site makes the browser send a request, and the browser sends the cookie along.

Browsers say where a request comes from (Fetch Metadata, and Origin before that); `SessionManager(cross_site="refuse")` serves
what comes from elsewhere, and asks for a change, without the session. No token is needed in forms. Login is covered as well:
nobody can be logged in as an attacker by a form on the attacker's page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardtack.errors import CrossSiteRequest
from hardtack.events import CrossSite
from hardtack.protocols import Held
from hardtack.request import Request
from hardtack.session import Session, become_live, state_of
from hardtack.settings import Settings
from hardtack.state import nothing

if TYPE_CHECKING:
    from hardtack.core import Core

_PORTS = {"http": "80", "https": "443"}
_WEB = {"ws": "http", "wss": "https"}


def check(core: Core, session: Session, request: Request) -> None:
    """Open the session empty, and refuse to change it, where the request may not have it."""
    if not (request.is_unsafe or request.is_websocket) or is_own(request, core.settings):
        return
    core.emit(CrossSite, request.told().origin or "", request.told().host, request=request)
    state = state_of(session)
    state.refusal = CrossSiteRequest(
        f"this request comes from {request.told().origin or 'another site'} and may not change the session; if that is meant, "
        "name the origin in trusted_origins=, or the path in cross_site_paths="
    )
    state.accessed = True  # whoever reads it now cannot be seen
    state.held = Held()
    state.meta = nothing()
    become_live(session, {}, None)


def is_own(request: Request, settings: Settings) -> bool:
    """Whether a request comes from this site, from one that is trusted, or from no browser at all."""
    origin, site = request.origin, request.sec_fetch_site
    if origin is not None and origin.lower() in settings.trusted_origins:
        return True
    if request.path in settings.cross_site_paths:
        return True
    if site is not None:
        return site in ("same-origin", "none")
    if origin is None:
        return True
    return _normal(origin) == _normal(f"{_WEB.get(request.scheme, request.scheme)}://{request.host}")


def _normal(origin: str) -> str:
    scheme, _, host = origin.strip().lower().partition("://")
    port = _PORTS.get(scheme)
    return f"{scheme}://{host.removesuffix(f':{port}') if port else host}"
