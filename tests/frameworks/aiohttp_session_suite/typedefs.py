"""What the tests of aiohttp-session call a client's factory (2.12.1, tests/typedefs.py; see LICENSE.txt)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

AiohttpClient = Callable[[web.Application], Awaitable[Any]]
