"""Tests that start a program must say so, for `make quick` and other machines leave them out by their marks."""

from __future__ import annotations

from typing import cast

import pytest
from tests import needs


def test_a_test_without_a_mark_can_start_no_program() -> None:
    """Installed or not: on a machine that has everything the missing mark would go unnoticed."""
    with pytest.raises(AssertionError, match="the test that starts redis-server needs the mark"):
        needs.find_program("redis-server", "valkey-server")


@pytest.mark.program("memcached")
def test_a_mark_allows_the_programs_that_it_stands_for() -> None:
    """And no other."""
    assert needs.find_program("memcached").endswith("/memcached")
    with pytest.raises(AssertionError, match="the test that starts perl needs the mark"):
        needs.find_program("perl")


@pytest.mark.parametrize("name", ["redis_server", ("sync", "redis"), ("x", ("redis_url",))])
def test_a_parameter_that_is_called_as_a_server_brings_its_mark(request: pytest.FixtureRequest, name: object) -> None:
    """So no list of stores has to be marked one by one."""
    assert [mark.args for mark in cast("pytest.Item", request.node).iter_markers("program")] == [("redis",)]


def test_what_is_missing_is_said_by_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip on a machine of somebody's, a failure where CI runs."""
    monkeypatch.setattr(needs, "PROGRAMS", {"none": [("there-is-no-such-program", "nor-this")]})
    item = cast("pytest.Item", request.node)
    item.add_marker(pytest.mark.program("none"))

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^not installed: there-is-no-such-program$"):
        needs.check(item)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"^not installed: there-is-no-such-program$"):
        needs.check(item)
