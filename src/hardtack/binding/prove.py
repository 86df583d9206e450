"""Prove: a proof of the device's key at the moment of a dangerous action.

The browser is sent to the same URL once more, with its bound cookie cleared: before it follows, it has to prove its key. A mark
in the URL says since when that must have been, so that a copied bound cookie does not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from hardtack.binding.binding import Status
from hardtack.errors import ConfigError, ProofNeeded

if TYPE_CHECKING:
    from hardtack.state import State

PARAMETER: Final = "session-proof"
"""The parameter of the URL that holds the mark."""


def prove(state: State) -> bool:
    """`Session.prove`."""
    device, core, request = state.device, state.core, state.request
    if device is None or core is None or core.binding is None or device.status is not Status.BOUND:
        return False
    bond = device.bond
    assert bond is not None  # of a session that is bound
    if request is None or not request.path:
        raise ConfigError("prove() needs the Request: open(header, Request(method=…, path=…, query=…))")
    binding = core.binding
    rest, mark = _split(request.query)
    if mark:
        since = binding.tokens.read_mark(mark, bond.id, binding.now())
        return since is not None and device.at >= since
    # Behind a second slash a browser would look for a host.
    path = "/" + quote(request.path, safe="/~!$&'()*+,;=:@-._").lstrip("/")
    query = "&".join([*rest, f"{PARAMETER}={binding.tokens.mark(bond.id, binding.now())}"])
    message = "the browser is asked to prove the key of its session, and to send the request again"
    error = ProofNeeded(message, f"{path}?{query}")
    error.set_cookies = [binding.cookie.clear_cookie(binding.bound_name(bond.id))]
    raise error


def _split(query: str) -> tuple[list[str], str]:
    """The query without the mark, and the mark, or what stands in its place; empty where there is none."""
    parts = [part for part in query.split("&") if part]
    beginning = f"{PARAMETER}="
    marks = [part.removeprefix(beginning) or "-" for part in parts if part.startswith(beginning)]
    return [part for part in parts if not part.startswith(beginning)], "".join(marks[:1])
