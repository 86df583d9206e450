"""`python -m benchmarks`: runs every measurement, and writes results.md and results.svg beside this file, and the history."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import history, starlette_request, tokens
from benchmarks.interleave import PAYLOADS, Times

HERE = Path(__file__).parent
PACKAGES = (
    "cryptography ormsgpack pybase64 starlette flask django litestar aiohttp-session itsdangerous redis pymemcache sqlalchemy "
    "flask-session starsessions"
)
PROGRAMS = {
    "Instructions": "instructions.py",
    "Requests under Flask": "flask_request.py",
    "Requests under Django": "django_request.py",
    "Requests under Litestar": "litestar_request.py",
    "Noting what a request reads": "tracking.py",
    "Stores": "stores.py",
    "Session::Storage::Secure, beside the Perl module": "perl.py",
    "Cookies of other systems, beside their own implementations": "web_cookies.py",
}
OURS = "hardtack encrypted"


def verdict(value: float, limit: float, *, at_least: bool = False) -> str:
    """A ratio beside its target, and whether it holds."""
    good = value >= limit if at_least else value <= limit
    return f"{value:.2f} | {'≥' if at_least else '≤'} {limit:g} | {'yes' if good else '**no**'}"


def token_tables() -> tuple[list[str], Times, list[str]]:
    lines: list[str] = []
    for size in PAYLOADS:
        times, sizes = tokens.measure(size)
        if size == "M":
            middle, names = times, list(sizes)
        lines += [
            f"### Payload {size}",
            "",
            "| format | seal µs | open µs | both, in times of hardtack | characters |",
            "|---|---|---|---|---|",
        ]
        ours = [f"{OURS} seal", f"{OURS} open"]
        for name, length in sizes.items():
            both = times.sum_ratio([f"{name} seal", f"{name} open"], ours)
            lines.append(
                f"| {name} | {times.of(f'{name} seal'):.2f} | {times.of(f'{name} open'):.2f} | {both:.2f} | {length} |"
            )
        lines.append("")
    return lines, middle, names


def targets(times: Times, names: list[str]) -> list[str]:
    def both(name: str) -> list[str]:
        return [f"{name} seal", f"{name} open"]

    lines = ["| what | measured | target | held |", "|---|---|---|---|"]
    floor = times.sum_ratio(both(OURS), both("floor"))
    lines.append(f"| sealing and opening M, in times of the floor | {verdict(floor, 1.45)} |")
    for name, limit in {"Starlette (signed)": 3.0, "Flask (signed)": 8.0}.items():
        faster = times.sum_ratio(both(name), both(OURS))
        lines.append(f"| {name}, in times of hardtack | {verdict(faster, limit, at_least=True)} |")
    peers = [name for name in names if name != "floor" and not name.startswith("hardtack")]
    nearest = min(times.sum_ratio(both(name), both(OURS)) for name in peers)
    lines.append(f"| the fastest peer, in times of hardtack | {verdict(nearest, 1.0, at_least=True)} |")
    lines.append(f"| 20 keys in the ring, in times of one | {verdict(tokens.measure_rings(), 1.05)} |")
    for name, ratio in tokens.measure_refusals().items():
        lines.append(f"| refusing a bad token ({name}), in times of opening a good M | {verdict(ratio, 2.0)} |")
    for kind, (_, _, ratio) in starlette_request.measure()[1].items():
        limit = {"untouched": 0.1, "read": 0.75, "written": 0.7}[kind]
        lines.append(f"| under Starlette, {kind}, in times of what its own sessions add | {verdict(ratio, limit)} |")
    lines.append(f"| `import hardtack`, in times of its compiled dependencies | {verdict(import_ratio(), 1.7)} |")
    return lines


def import_ratio(rounds: int = 15) -> float:
    """Importing hardtack, in times of importing the compiled packages that it stands on, each in a fresh process.

    Both are compiled to bytecode before, as an installed package is.
    """
    floor = (
        "import ormsgpack, pybase64, cryptography.hazmat.primitives.ciphers.aead, cryptography.hazmat.primitives.ciphers, "
        "cryptography.hazmat.primitives.kdf.scrypt, cryptography.hazmat.primitives.kdf.hkdf"
    )

    def seconds(statement: str) -> float:
        program = f"import time; begin = time.perf_counter(); {statement}; print(time.perf_counter() - begin)"
        result = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        return float(result.stdout)

    with tempfile.TemporaryDirectory() as bytecode:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
        seconds("import hardtack")
        seconds(floor)
        return median(seconds("import hardtack") / seconds(floor) for _ in range(rounds))


def session_lines() -> list[str]:
    times = tokens.measure_session()
    return [
        "| `open` and `commit` of M | µs |",
        "|---|---|",
        *(f"| {kind} | {times.of(kind):.1f} |" for kind in ("untouched", "read", "written")),
    ]


def starlette_lines() -> list[str]:
    _, added = starlette_request.measure()
    lines = ["| request | Starlette's own adds µs | hardtack adds µs |", "|---|---|---|"]
    return lines + [f"| {kind} | {theirs:.1f} | {ours:.1f} |" for kind, (theirs, ours, _) in added.items()]


def program_lines() -> list[str]:
    lines: list[str] = []
    for title, name in PROGRAMS.items():
        result = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name.removesuffix('.py')}"],
            capture_output=True, text=True, cwd=HERE.parent, check=False,
        )  # fmt: skip
        output = result.stdout.strip() if result.returncode == 0 else f"failed:\n{result.stderr.strip()[-2000:]}"
        lines += [f"## {title}", "", f"`python -m benchmarks.{name.removesuffix('.py')}`", "", "```", output, "```", ""]
    return lines


def chart(times: Times, names: list[str]) -> str:
    """Bars of seal plus open of M, as SVG that is legible on light and on dark."""
    shown = [name for name in names if name not in ("floor", "hardtack signed")]
    sums = {name: times.of(f"{name} seal") + times.of(f"{name} open") for name in shown}
    longest = max(sums.values())
    parts = []
    for index, (name, micros) in enumerate(sorted(sums.items(), key=lambda pair: pair[1])):
        y, width = 44 + index * 30, max(2.0, 420 * micros / longest)
        color = "#c2410c" if name == OURS else "#64748b"
        parts.append(
            f'<text x="196" y="{y + 15}" text-anchor="end">{name}</text>'
            f'<rect x="206" y="{y}" width="{width:.1f}" height="20" rx="3" fill="{color}"/>'
            f'<text x="{212 + width:.0f}" y="{y + 15}">{micros:.1f} µs</text>'
        )
    height = 54 + len(shown) * 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" role="img" '
        'aria-label="Time to seal and open a session of 559 bytes, by library">'
        "<style>text{font:14px system-ui,sans-serif;fill:#334155}"
        "@media(prefers-color-scheme:dark){text{fill:#cbd5e1}}</style>"
        '<text x="8" y="24" style="font-weight:600">Seal and open a session of 559 bytes (payload M); shorter is better</text>'
        f"{''.join(parts)}</svg>\n"
    )


def versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES.split():
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} (not installed)")
    return ", ".join(found)


def main() -> None:
    tables, middle, names = token_tables()
    lines = [
        "# What hardtack costs",
        "",
        f"Written by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d}, with {versions()}, on {platform.machine()} with "
        f"{os.cpu_count()} processors; {os.getloadavg()[2]:.1f} other processes wanted to run meanwhile.",
        "Everything in a table was measured in turns, in one process; the ratios are medians over the rounds. The floor is the",
        "same C calls (encode, random, clock, AES-GCM on a ready cipher, base64) back to back in one function.",
        "",
        "## Targets",
        "",
        *targets(middle, names),
        "",
        "## Tokens",
        "",
        *tables,
        "## The whole session",
        "",
        *session_lines(),
        "",
        "## Requests under Starlette",
        "",
        *starlette_lines(),
        "",
        *program_lines(),
    ]
    history.append(history.ratios_of("\n".join(lines)), dt.datetime.now(dt.UTC).date().isoformat())
    (HERE / "results.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    (HERE / "results.svg").write_text(chart(middle, names), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
