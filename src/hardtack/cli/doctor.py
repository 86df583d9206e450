"""`hardtack doctor`: checks a configuration, its files and its servers, and says of each what to do."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hardtack import SessionManager, config
from hardtack.cli import doctor_settings
from hardtack.cli.doctor_ended import check_list
from hardtack.cli.doctor_servers import awaited, check_store
from hardtack.cli.findings import Finding, wrong
from hardtack.errors import ConfigError, StoreError

_PREFIX: Final = "HARDTACK_"


def add_parser(commands: Any) -> None:
    """Add the command to the others."""
    parser = commands.add_parser(
        "doctor",
        help="check a configuration against OWASP, ASVS and NIST, and its servers",
        description="Exit code 0: nothing is wrong; 1: something is; 2: the configuration is not there.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a file for hardtack.config (default: the environment)"
    )
    parser.add_argument(
        "--aal", type=int, choices=(1, 2, 3), default=1, help="the assurance level of the site (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code of `hardtack`."""
    file: Path | None = arguments.config
    if file is not None and not file.is_file():
        print(f"hardtack: there is no file {file}", file=sys.stderr)
        return 2
    try:
        findings = asyncio.run(_examine(file, arguments.aal))
    except ImportError as error:
        print(f"hardtack: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(f"{finding.level:5}  {finding.what}")
        if finding.do:
            print(f"       do: {finding.do}")
    return 1 if any(finding.level == "wrong" for finding in findings) else 0


async def _examine(file: Path | None, level: int) -> list[Finding]:
    try:
        sessions = config.from_env() if file is None else config.from_file(file)
    except ConfigError as error:
        return [wrong(str(error), "put it right: the application does not start (docs/configuration.md)")]
    except StoreError as error:  # a Redis Cluster is asked for its nodes at once
        return [wrong(str(error), "see that its server runs, and can be reached")]
    findings = [*doctor_settings.check_files(file, _given(file)), *doctor_settings.check(sessions, level)]
    findings += await _servers(sessions)
    if sessions.core.ended is not None:
        findings += check_list(sessions.core.ended)
    return findings


async def _servers(sessions: SessionManager) -> list[Finding]:
    store: Any = sessions.core.engine.store
    if store is None:
        return []
    try:
        return [finding async for finding in check_store(store)]
    finally:
        await awaited(store.close())


def _given(file: Path | None) -> Mapping[str, Any]:
    """The settings as they were written."""
    if file is None:
        return {
            name.removeprefix(_PREFIX).lower(): value for name, value in os.environ.items() if name.startswith(_PREFIX)
        }
    content = config.read_settings(file)
    section: Mapping[str, Any] = content.get("hardtack", content)
    return section
