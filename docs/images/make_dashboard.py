"""Draws docs/images/dashboard.png: the dashboard of docs/grafana over a real site's metrics: `make dashboard`.

Two processes of a site serve real requests, while their Redis hangs once and is stopped once. A Prometheus scrapes both. Then
each query of the dashboard is asked of it, with the variables filled as Grafana fills them, and its panels are drawn in the
dashboard's own grid. It fails if a query finds nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import html
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from hardtack import Key

HERE = Path(__file__).parent
PICTURE = HERE / "dashboard.png"
DASHBOARD = HERE.parent / "grafana" / "hardtack.json"
EXPORTER = HERE.parents[1] / "build" / "dashboard"
"""Where `make dashboard` installs OpenTelemetry's exporter for Prometheus, which nothing else here needs."""

SCRAPE: Final = 2
"""Seconds between two scrapes."""

MINUTES: Final = 4.0
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def main() -> None:
    """Serve, ask, draw; or be one of the site's processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of traffic (default: %(default)s)")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return
    for program in ("prometheus", "redis-server", "chromium"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed: apt-get install --no-install-recommends {program}")
    if not EXPORTER.is_dir():
        sys.exit(f"{EXPORTER} is missing: run `make dashboard`")
    with tempfile.TemporaryDirectory() as directory:
        took(Path(directory), arguments.minutes * 60)
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")


def took(directory: Path, seconds: float) -> None:
    """The picture of so many seconds of traffic."""
    redis, (first, second), prometheus = Redis(directory), (free_port(), free_port()), free_port()
    environment = {**os.environ, "REDIS_URL": redis.url, "HARDTACK_KEY": Key.generate().export()}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(EXPORTER)]))
    own = [sys.executable, __file__, "--serve"]
    with redis, contextlib.ExitStack() as stack:
        for purpose in ("shop", "office"):
            create = [sys.executable, "-m", "hardtack", "ended", redis.url, "--create", "--purpose", purpose]
            subprocess.run(create, check=True, env=environment, stdout=subprocess.DEVNULL)
        for port in (first, second):
            stack.enter_context(running([*own, str(port)], port, environment))
        stack.enter_context(running(prometheus_command(directory, prometheus, [first, second]), prometheus))
        start = time.time()
        asyncio.run(browse([first, second], redis, seconds))
        asked = Asked(f"http://127.0.0.1:{prometheus}", start + 4 * SCRAPE, start + seconds - SCRAPE)
        draw(asked)


# --- the processes


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """A program that listens on a port meanwhile."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield
        finally:
            process.terminate()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return as soon as something listens; exit where the program has ended instead."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    sys.exit(f"{process.args!r} does not listen on port {port}")


class Redis:
    """A Redis that can hang and can be stopped, and keeps what it has."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = ["redis-server", "--port", str(self.port), "--dir", str(directory), "--appendonly", "yes"]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self.port, self._process)

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait()

    async def hang(self, seconds: float) -> None:
        """Answer nothing for a while."""
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    async def stop(self, seconds: float) -> None:
        """Be gone for a while."""
        self.__exit__()
        await asyncio.sleep(seconds)
        self.__enter__()


def prometheus_command(directory: Path, port: int, sites: list[int]) -> list[str]:
    """How to start a Prometheus that scrapes the site."""
    targets = [f"127.0.0.1:{each}" for each in sites]
    configuration = directory / "prometheus.yml"
    scrape = {"job_name": "shop", "scrape_interval": f"{SCRAPE}s", "static_configs": [{"targets": targets}]}
    configuration.write_text(json.dumps({"scrape_configs": [scrape]}))  # JSON is YAML
    data = directory / "prometheus"
    listen = f"--web.listen-address=127.0.0.1:{port}"
    return ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={data}", listen]


# --- the site: a shop whose sessions are in Redis, and its back office, whose sessions are in cookies


def serve(port: int) -> None:
    """One process of the site."""
    import uvicorn

    uvicorn.run(make_site(os.environ["REDIS_URL"]), host="127.0.0.1", port=port, log_level="error")


def make_site(url: str) -> Any:
    """The application of one process."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # type: ignore[import-not-found,unused-ignore]
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import generate_latest  # type: ignore[import-not-found,unused-ignore]
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Mount, Route

    from hardtack import Cookie, CookieEngine, EndedSessions, SessionManager, StoreEngine, telemetry
    from hardtack.frameworks.starlette import SessionMiddleware
    from hardtack.stores.redis import AsyncRedisStore

    key = Key.parse(os.environ["HARDTACK_KEY"])
    shop = SessionManager(
        StoreEngine(AsyncRedisStore.from_url(f"{url}?socket_timeout=0.5"), merge=["cart"]),
        ended=EndedSessions.from_url(url, key=key),
        purpose="shop",
    )
    office = SessionManager(
        CookieEngine(key),
        cookie=Cookie(name="__Host-office"),
        purpose="office",
        lifetime="50 seconds",
        idle_timeout="20 seconds",
        ended=EndedSessions.from_url(url, key=key),
    )
    provider = MeterProvider([PrometheusMetricReader()])
    for sessions in (shop, office):
        telemetry.instrument(sessions, meter_provider=provider)

    async def answer(request: Request) -> Response:
        await act(request.session, request.path_params["what"], request.query_params.get("user", ""), shop)
        return PlainTextResponse("done")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type="text/plain; version=0.0.4")

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async def count() -> None:
            while True:
                with contextlib.suppress(Exception):
                    await shop.acount()
                await asyncio.sleep(SCRAPE)

        task = asyncio.create_task(count())
        yield
        task.cancel()

    def part(sessions: SessionManager) -> Any:
        routes = [Route("/{what}", answer, methods=["GET", "POST"])]
        return SessionMiddleware(Starlette(routes=routes), sessions=sessions)

    routes = [Route("/metrics", metrics), Mount("/office", part(office)), Mount("/shop", part(shop))]
    return Starlette(routes=routes, lifespan=lifespan)


async def act(session: Any, what: str, user: str, shop: Any) -> None:
    """What a request wants of its session; anything else only looks at it."""
    match what:
        case "login":
            session.login(user)
        case "login-here":
            session.login(user, at_most=2)
        case "logout":
            session.logout()
        case "everywhere" if session.subject is not None:
            await shop.aend_all(session.subject)
        case "rotate":
            session.regenerate()
        case "impersonate":
            session.impersonate("bob")
        case "cart":  # parallel changes of it are joined
            session["cart"] = [*session.get("cart", []), random.randrange(100)]
            await asyncio.sleep(0.05)
        case "total":  # of two at a time one has read what the other changes
            session["total"] = session.get("total", 0) + 1
            await asyncio.sleep(0.05)
        case "draft":
            session["draft"] = "x" * random.randrange(40, 1400)
        case _:
            session.get("cart")


# --- the traffic


class Browser:
    """One user's cookies, and the two processes that the requests are spread over."""

    def __init__(self, client: Any, ports: list[int], user: str) -> None:
        self.client, self.ports, self.user = client, ports, user
        self.cookies: dict[str, str] = {}

    async def ask(self, path: str, cookies: str | None = None) -> None:
        """One request; what is wrong with the site meanwhile shows in its metrics."""
        import httpx

        header = "; ".join(f"{name}={value}" for name, value in self.cookies.items()) if cookies is None else cookies
        url = f"http://127.0.0.1:{random.choice(self.ports)}{path}"
        try:
            response = await self.client.post(url, headers={"Cookie": header} if header else {})
        except httpx.HTTPError:
            return
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if "Max-Age=0" not in line:
                self.cookies[name] = value


async def browse(ports: list[int], redis: Redis, seconds: float) -> None:
    """The users of a shop, for so long: more of them in the middle, and Redis in trouble twice."""
    import httpx

    until = time.monotonic() + seconds
    async with httpx.AsyncClient(timeout=10) as client:
        users = [use(Browser(client, ports, f"user{number}"), until, seconds) for number in range(14)]
        await asyncio.gather(*users, trouble(redis, seconds))


async def trouble(redis: Redis, seconds: float) -> None:
    """It hangs after two fifths of the time, and is gone after three."""
    await asyncio.sleep(seconds * 0.4)
    await redis.hang(8)
    await asyncio.sleep(seconds * 0.25)
    await redis.stop(5)


async def use(browser: Browser, until: float, seconds: float) -> None:
    """What one user does until then."""
    turn = 0
    while (left := until - time.monotonic()) > 0:
        turn += 1
        busy = 0.4 + 0.6 * math.sin(math.pi * min(1, left / seconds))
        await asyncio.sleep(random.uniform(0.1, 0.7) / busy)
        if not browser.cookies:
            await browser.ask(f"/shop/login-here?user={browser.user}")
            await browser.ask(f"/office/login?user={browser.user}")
        await asyncio.gather(*(browser.ask("/shop/look") for _ in range(random.choice((1, 1, 3)))))
        await do(browser, random.random(), turn)


async def do(browser: Browser, chance: float, turn: int) -> None:
    """Something that changes a session, or a cookie that is not good."""
    if chance < 0.18:
        await asyncio.gather(*(browser.ask("/shop/cart") for _ in range(2)))
    elif chance < 0.26:
        await asyncio.gather(*(browser.ask("/shop/total") for _ in range(3)))
    elif chance < 0.34:
        await browser.ask("/shop/rotate")
    elif chance < 0.42:
        await browser.ask(random.choice(["/office/draft", "/office/draft", "/office/rotate"]))
    elif chance < 0.52:
        await browser.ask(random.choice(["/shop/logout", "/shop/logout", "/shop/everywhere", "/office/logout"]))
    elif chance < 0.56:
        await Browser(browser.client, browser.ports, browser.user).ask(
            f"/shop/login-here?user={browser.user}"
        )  # elsewhere
    elif chance < 0.60:
        other = Browser(browser.client, browser.ports, browser.user)
        for path in ("login?user=support", "impersonate", "logout"):
            await other.ask(f"/shop/{path}")
    elif chance < 0.70:
        await bring_junk(browser, turn)
    elif chance < 0.78:
        copy = dict(browser.cookies)
        await asyncio.sleep(random.choice([0.1, 22.0]))  # idle, in the back office
        browser.cookies = copy
        await browser.ask("/office/look")
    elif chance < 0.84:
        await browser.ask("/office/look")


async def bring_junk(browser: Browser, turn: int) -> None:
    """A cookie that is not good."""
    if turn % 2:
        await browser.ask("/office/look", "__Host-office=" + "A" * 120)
    else:
        bad = random.choice(["junk", "A" * 43, "A" * 42 + "E"])
        await browser.ask("/shop/look", f"__Host-Http-session={bad}")


# --- the questions


class Series(NamedTuple):
    """One line of a panel: its name in the legend, and its points."""

    name: str
    points: list[tuple[float, float]]


class Asked:
    """A Prometheus, a time, and the variables as Grafana has them for it."""

    def __init__(self, address: str, start: float, end: float) -> None:
        self.address, self.start, self.end = address, start, end
        self.dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        self.interval = SCRAPE  # what Grafana draws a point of a few minutes for: no finer than the scrapes
        self.variables = {
            "datasource": "Prometheus",
            "__interval": f"{self.interval}s",
            "__rate_interval": f"{max(self.interval + SCRAPE, 4 * SCRAPE)}s",
            "__range": f"{int(end - start)}s",
        }
        self.shown: list[tuple[str, str]] = []
        for variable in self.dashboard["templating"]["list"]:
            self._choose(variable)

    def _choose(self, variable: dict[str, Any]) -> None:
        if variable["type"] == "datasource":
            self.shown.append((variable["label"], self.variables[variable["name"]]))
            return
        label = variable["query"]["query"].removeprefix("label_values(").removesuffix(")")
        found = self._get(f"label/{label}/values", {})
        if not found:
            sys.exit(f"the variable {variable['name']} has no values")
        assert variable["current"]["value"] == "$__all", variable
        self.variables[variable["name"]] = variable["allValue"]
        self.shown.append((variable["label"], f"All ({', '.join(found)})"))

    def _get(self, path: str, parameters: dict[str, Any]) -> Any:
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{parameters.get('query')}: {error.read().decode()}")

    def fill(self, text: str) -> str:
        """A query with its variables filled in."""
        for name in sorted(self.variables, key=len, reverse=True):
            text = text.replace(f"${{{name}}}", self.variables[name]).replace(f"${name}", self.variables[name])
        return text

    def panel(self, panel: dict[str, Any]) -> list[Series]:
        """The lines of a panel. Exits where a query of it finds nothing."""
        lines: list[Series] = []
        for target in panel["targets"]:
            query = self.fill(target["expr"])
            parameters = {"query": query, "start": self.start, "end": self.end, "step": self.interval}
            found = self._get("query_range", parameters)["result"]
            series = [_series(each, target["legendFormat"]) for each in found]
            if not any(each.points for each in series):
                sys.exit(f"{panel['title']}, {target['refId']}: nothing is found by {query}")
            lines += [each for each in series if each.points]
        return lines


def _series(found: dict[str, Any], legend: str) -> Series:
    for name, value in found["metric"].items():
        legend = legend.replace(f"{{{{{name}}}}}", value)
    values = [(at, float(text)) for at, text in found["values"]]
    return Series(legend, [(at, value) for at, value in values if math.isfinite(value)])


# --- the picture

COLORS = ["#56A64B", "#F2A900", "#3274D9", "#E02F44", "#A352CC", "#FA6400", "#00A3A3", "#C15C17", "#7EB26D", "#6F6F6F"]
RATES = {"reqps": "req/s", "cps": "c/s", "ops": "ops/s"}
COLUMN, ROW, GAP = 58, 30, 8
FONT = "Inter, 'Liberation Sans', 'DejaVu Sans', sans-serif"
STYLE = f"""
body {{ margin: 0; background: #f4f5f5; font: 13px {FONT}; color: #24292e; }}
header {{ padding: 14px 16px 0; display: flex; gap: 12px; align-items: center; }}
h1 {{ font-size: 19px; margin: 0 14px 0 0; font-weight: 600; }}
.variable {{ background: #fff; border: 1px solid #d8dadd; border-radius: 2px; padding: 4px 9px; }}
.variable b {{ font-weight: 500; color: #3871dc; margin-right: 7px; }}
.time {{ margin-left: auto; color: #5a6066; }}
main {{ position: relative; margin: 10px 12px; }}
.panel, .row {{ position: absolute; box-sizing: border-box; }}
.panel {{ background: #fff; border: 1px solid #e1e3e6; border-radius: 2px; padding: 7px 9px; overflow: hidden; }}
.row {{ font-size: 15px; font-weight: 500; line-height: 30px; }}
.row::before {{ content: "⌄"; margin: 0 9px 0 4px; color: #6b7178; }}
.title {{ font-weight: 600; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 1px 13px; font-size: 11px; line-height: 15px; }}
.legend i {{ display: inline-block; width: 13px; height: 3px; border-radius: 2px; margin: 0 5px 3px 0; }}
.stat {{ font-size: 66px; font-weight: 600; color: #37872d; text-align: center; margin-top: 38px; }}
text {{ font: 10.5px {FONT}; fill: #6b7178; }}
"""


def draw(asked: Asked) -> None:
    """Take the picture of all panels."""
    from playwright.sync_api import sync_playwright

    panels = asked.dashboard["panels"]
    width = 24 * COLUMN
    height = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in panels) * (ROW + GAP)
    body = "".join(_panel(asked, each) for each in panels)
    shown = "".join(f'<span class="variable"><b>{name}</b>{html.escape(value)}</span>' for name, value in asked.shown)
    head = f"<h1>{html.escape(asked.dashboard['title'])}</h1>{shown}"
    times = f'<span class="time">{_clock(asked.start)} to {_clock(asked.end)} UTC, scraped every {SCRAPE} s</span>'
    main = f'<main style="width:{width}px;height:{height}px">{body}</main>'
    page_text = f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><header>{head}{times}</header>{main}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        page = browser.new_page(viewport={"width": width + 24, "height": height + 62}, device_scale_factor=1)
        page.set_content(page_text)
        page.screenshot(path=PICTURE)
        browser.close()


def _panel(asked: Asked, panel: dict[str, Any]) -> str:
    at = panel["gridPos"]
    left, top = at["x"] * COLUMN, at["y"] * (ROW + GAP)
    width, height = at["w"] * COLUMN - GAP, at["h"] * (ROW + GAP) - GAP
    place = f"left:{left}px;top:{top}px;width:{width}px;height:{height}px"
    title = html.escape(panel["title"])
    if panel["type"] == "row":
        return f'<div class="row" style="{place}">{title}</div>'
    lines = asked.panel(panel)
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "stat":
        value = _with_unit(lines[0].points[-1][1], unit)
        inside = f'<div class="stat">{value}</div>{_chart(asked, panel, lines[:1], width - 20, 90, bare=True)}'
    else:
        rows = _legend_rows([each.name for each in lines], width - 20)
        names = "".join(
            f'<span><i style="background:{COLORS[number % len(COLORS)]}"></i>{html.escape(each.name)}</span>'
            for number, each in enumerate(lines)
        )
        chart = _chart(asked, panel, lines, width - 20, height - 38 - 16 * rows)
        inside = f'{chart}<div class="legend">{names}</div>'
    return f'<div class="panel" style="{place}"><div class="title">{title}</div>{inside}</div>'


def _legend_rows(names: list[str], width: int) -> int:
    """How many rows a legend takes, by about 6 pixels a character."""
    rows, used = 1, 0.0
    for name in names:
        needed = 31 + 5.7 * len(name)
        if used and used + needed > width:
            rows, used = rows + 1, 0.0
        used += needed
    return rows


def _chart(
    asked: Asked, panel: dict[str, Any], lines: list[Series], width: int, height: int, *, bare: bool = False
) -> str:
    """The lines over their time, with the axes; a gap where there are no points."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    left, bottom = (0, 2) if bare else (52, 20)
    highest = max((value for each in lines for _, value in each.points), default=0) or 1
    ticks = [each * 1024 for each in _ticks(highest / 1024)] if unit == "bytes" else _ticks(highest)
    top = max(highest * 1.05, ticks[-1])

    def x(at: float) -> float:
        return left + (at - asked.start) / (asked.end - asked.start) * (width - left - 4)

    def y(value: float) -> float:
        return 6 + (1 - value / top) * (height - bottom - 8)

    parts = []
    if not bare:
        for tick in ticks:
            parts.append(f'<path d="M{left} {y(tick):.1f}H{width - 4}" stroke="#e4e6e9"/>')
            parts.append(
                f'<text x="{left - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{_with_unit(tick, unit)}</text>'
            )
        step = max(30, round((asked.end - asked.start) / 5 / 30) * 30)
        moment = math.ceil(asked.start / step) * step
        while moment < asked.end:
            parts.append(f'<path d="M{x(moment):.1f} 6V{height - bottom}" stroke="#eff1f3"/>')
            if x(moment) < width - 26:  # else the edge would cut it
                parts.append(f'<text x="{x(moment):.1f}" y="{height - 6}" text-anchor="middle">{_clock(moment)}</text>')
            moment += step
        limits = [each["value"] for each in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])]
        seen = [limit for limit in limits if limit is not None and limit < top]
        parts += [f'<path d="M{left} {y(limit):.1f}H{width}" stroke="#E02F44"/>' for limit in seen]
    for number, each in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        for run in _runs(each.points, 2.5 * asked.interval):
            path = "M" + "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in run)
            if len(run) == 1:
                path += "h1"
            if len(lines) <= 2:
                area = f"{path}L{x(run[-1][0]):.1f} {y(0):.1f}L{x(run[0][0]):.1f} {y(0):.1f}Z"
                parts.append(f'<path d="{area}" fill="{color}" fill-opacity="0.09"/>')
            parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5" stroke-linejoin="round"/>')
    return f'<svg width="{width}" height="{height}" style="display:block">{"".join(parts)}</svg>'


def _runs(points: list[tuple[float, float]], gap: float) -> list[list[tuple[float, float]]]:
    """The points in stretches without a gap."""
    runs: list[list[tuple[float, float]]] = []
    for point in points:
        if runs and point[0] - runs[-1][-1][0] <= gap:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _ticks(highest: float) -> list[float]:
    """From 0 on, four or so of them, by round steps."""
    rough = highest / 4
    scale = 10 ** math.floor(math.log10(rough))
    step = next(each * scale for each in (1, 2, 2.5, 5, 10) if each * scale >= rough)
    return [number * step for number in range(int(highest / step + 1e-9) + 1)]


def _with_unit(value: float, unit: str) -> str:
    """As Grafana writes it."""
    match unit:
        case "s":
            scaled = [(value, "s"), (value * 1e3, "ms"), (value * 1e6, "µs")]
            number, name = next((each for each in scaled if each[0] >= 1), scaled[-1]) if value else (0.0, "s")
            return f"{number:.3g} {name}"
        case "bytes":
            return f"{value:.0f} B" if value < 1024 else f"{value / 1024:.3g} KiB"
        case "reqps" | "cps" | "ops":
            return f"{value:.3g} {RATES[unit]}"
    return f"{value:.3g}" if value < 1000 else f"{value / 1000:.3g} K"


def _clock(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%H:%M:%S")


if __name__ == "__main__":
    main()
