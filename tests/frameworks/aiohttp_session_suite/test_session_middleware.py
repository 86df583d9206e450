# ruff: noqa
# mypy: ignore-errors
# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Tests of aiohttp-session 2.12.1 (tests/test_session_middleware.py), run against hardtack. Copyright 2015-2020 aio-libs collaboration,
Apache License 2.0; see LICENSE.txt beside this file. Changed: the imports, and the marks.
"""

import pytest

from hardtack.frameworks.aiohttp import session_middleware


@pytest.mark.asyncio
async def test_session_middleware_bad_storage() -> None:
    with pytest.raises(RuntimeError):
        # Ignoring typing since parameter type is wrong on purpose
        session_middleware(None)  # type: ignore[arg-type]
