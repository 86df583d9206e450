"""The site under each server of the table, and what a proxy puts before it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import needs
from tests.servers import certify, free_port, unprivileged_user

from benchmarks.soak import ROOT
from benchmarks.soak.stores import Store
from benchmarks.soak.users import Plain, Secure, User, Way
from hardtack import Key

START_TIMEOUT = 60  # seconds
MODULES = Path("/usr/lib/apache2/modules")


@dataclass
class Site:
    """A running deployment."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    keys: Path
    store: Store
    way: Callable[[], Way]

    def workers(self) -> list[int]:
        """The processes below the first one, or it alone."""
        found, waiting = [], [self.process.pid]
        while waiting:
            with suppress(OSError):  # it has gone meanwhile
                pid = waiting.pop()
                children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
                found += children
                waiting += children
        return found or [self.process.pid]

    def memory_of(self, pid: int) -> float:
        """Megabytes of one process; 0 if it has gone."""
        with suppress(OSError):
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
        return 0

    def memory(self) -> float:
        """Megabytes, of all workers."""
        return sum(map(self.memory_of, self.workers()))

    def connections(self) -> int:
        """Sockets that these processes have open, but for those that they listen on or were asked on."""
        sockets = set()
        for pid in self.workers():
            with suppress(OSError):
                for each in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):
                        sockets.add(os.readlink(each))
        established = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ours = f":{self.port:04X}"
        return sum(
            1
            for _, local, _, state, *rest in established
            if state == "01" and not local.endswith(ours) and f"socket:[{rest[5]}]" in sockets
        )


COMMANDS = {
    "gunicorn": "gunicorn --workers 2 --threads 8 --bind 127.0.0.1:{port} {module}:application",
    "uWSGI": "uwsgi --master --processes 2 --threads 8 --enable-threads --die-on-term --need-app --disable-logging "
    "--http-socket 127.0.0.1:{port} --module {module}:application --home {home} --pythonpath {root}",
    "mod_wsgi": "apache2 -D FOREGROUND -f {folder}/apache.conf",
    "granian": "granian --interface asgi --workers 2 --respawn-failed-workers --no-ws --log-level error "
    "--host 127.0.0.1 --port {port} {module}:asgi",
    "granian (WSGI)": "granian --interface wsgi --workers 2 --blocking-threads 8 --respawn-failed-workers "
    "--log-level error --host 127.0.0.1 --port {port} {module}:application",
    "uvicorn": "uvicorn --workers 2 --port {port} --log-level error {module}:asgi",
    "hypercorn": "hypercorn --workers 2 --bind 127.0.0.1:{port} {module}:asgi",
}
MODULE = "benchmarks.soak.application"
NGINX = "nginx with TLS and HTTP/2, "


def is_asynchronous(deployment: str) -> bool:
    """Whether the site is the one for ASGI."""
    return COMMANDS[deployment.removeprefix(NGINX)].endswith(":asgi")


@contextmanager
def running(deployment: str, store: Store) -> Iterator[Site]:
    """The site in this deployment, from its first answer on."""
    server = deployment.removeprefix(NGINX)
    is_behind_nginx = server != deployment
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hardtack-soak-") as name:
        folder = Path(name)
        keys = folder / "keys.toml"
        hardtack("keys", "init", str(keys), "--lifetime", "1 hour", "--spread", "2 seconds")
        environment = {
            "SOAK_STORE": store.url,
            "SOAK_KEYS": str(keys),
            "SOAK_KIND": "asgi" if is_asynchronous(deployment) else "wsgi",
            "SOAK_SCHEME": "https" if is_behind_nginx else "http",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH")])),
        }
        if store.ended:
            (key := folder / "ended.key").write_text(Key.generate().export())
            key.chmod(0o600)
            environment |= {"SOAK_ENDED": store.ended, "SOAK_ENDED_KEY": key.read_text()}
            hardtack("ended", store.ended, "--create", "--key-file", str(key))
        command = command_of(server, port, folder)
        command = getattr(store.server, "wrap", list)(command)
        with process(command, folder / "site.log", environment) as started:
            site = Site(deployment, started, port, keys, store, lambda: Plain(port))
            wait_for_answer(site, folder / "site.log")
            if not is_behind_nginx:
                yield site
                return
            with process(nginx(outer := free_port(), port, folder), folder / "nginx.log", {}) as proxy:
                site.way = lambda: Secure(outer, folder / "certificate.pem")
                wait_for_answer(site, folder / "nginx.log", proxy)
                yield site


def command_of(server: str, port: int, folder: Path) -> list[str]:
    """How this server is started. A test's skip where it is not installed."""
    values = {"port": port, "home": sys.prefix, "root": ROOT, "module": MODULE, "folder": folder}
    program, *arguments = COMMANDS[server].format(**values).split()
    if server == "mod_wsgi":
        return mod_wsgi(port, folder, arguments)
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    path = shutil.which(program, path=places)
    if path is None:
        pytest.skip(f"not installed: {program}")
    return [path, *arguments]


def mod_wsgi(port: int, folder: Path, arguments: list[str]) -> list[str]:
    """Apache's command, whose mod_wsgi has a Python of its own: it must be of our minor version, to load our packages."""
    needs.allow("apache")
    library = MODULES / "mod_wsgi.so"
    if not library.is_file():
        pytest.skip("not installed: libapache2-mod-wsgi-py3")
    linked = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    theirs = re.findall(r"libpython(\d\.\d+)", linked)[:1]
    if theirs != [ours := f"{sys.version_info.major}.{sys.version_info.minor}"]:
        pytest.skip(f"not installed: mod_wsgi for Python {ours} (Debian's is for {' '.join(theirs)})")
    path = [str(ROOT), str(ROOT / "src"), sysconfig.get_path("purelib")]
    script = folder / "site.wsgi"
    script.write_text(f"import sys\nsys.path[:0] = {path!r}\nfrom {MODULE} import application\n")
    lines = [
        f'ServerRoot "{folder}"',
        f'DefaultRuntimeDir "{folder}"',
        "ServerName 127.0.0.1",
        f"Listen 127.0.0.1:{port}",
        "PidFile apache.pid",
        "ErrorLog site.log",
        *(f"LoadModule {each}_module {MODULES}/mod_{each}.so" for each in ("mpm_event", "authz_core", "wsgi")),
        "WSGISocketPrefix wsgi",
        "WSGIRestrictEmbedded On",
        "WSGIDaemonProcess soak processes=2 threads=8",
        f"WSGIScriptAlias / {script} process-group=soak application-group=%{{GLOBAL}}",
        f'<Directory "{folder}">',
        "Require all granted",
        "</Directory>",
    ]
    (folder / "apache.conf").write_text("\n".join(lines) + "\n")
    return [*as_nobody_by_name(), needs.find_program("apache2"), *arguments]


def as_nobody_by_name() -> list[str]:
    """What lets a server run that refuses root: with root's own files, under another name."""
    if os.geteuid() != 0:
        return []
    import pwd

    needs.allow("unshare")
    user = pwd.getpwnam(str(unprivileged_user("www-data")))
    renamed = [needs.find_program("unshare"), "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}"]
    if subprocess.run([*renamed, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("not allowed here: a namespace of users, for a server that refuses root")
    return renamed


def nginx(port: int, site: int, folder: Path) -> list[str]:
    """nginx's command."""
    needs.allow("nginx")
    certify(folder)
    places = [f"{each}_temp_path {folder}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    lines = [
        "daemon off;",
        *(["user root;"] if os.geteuid() == 0 else []),
        f"pid {folder}/nginx.pid;",
        "events {}",
        "http {",
        "access_log off;",
        *places,
        "server {",
        f"listen 127.0.0.1:{port} ssl http2;",
        f"ssl_certificate {folder}/certificate.pem;",
        f"ssl_certificate_key {folder}/key.pem;",
        "location / {",
        f"proxy_pass http://127.0.0.1:{site};",
        "proxy_set_header Host $http_host;",
        "proxy_set_header X-Forwarded-Proto https;",
        "}}}",
    ]
    (folder / "nginx.conf").write_text("\n".join(lines) + "\n")
    return [needs.find_program("nginx"), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def hardtack(*arguments: str) -> str:
    """What our command prints."""
    command = [sys.executable, "-m", "hardtack", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Meanwhile it runs, and those that it starts."""
    with log.open("wb") as output:
        made = subprocess.Popen(
            command, env=os.environ | environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield made
    finally:
        with suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGTERM)
        try:
            made.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(made.pid, signal.SIGKILL)
            made.wait()


def wait_for_answer(site: Site, log: Path, server: subprocess.Popen[bytes] | None = None) -> None:
    """Until the site answers, or the end of the program with what the server (its own, or the proxy) has written."""
    server = server or site.process
    deadline = time.monotonic() + START_TIMEOUT
    probe = User("probe", site.way())
    try:
        while not probe.answers or probe.answers[-1].status != 200:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{site.name} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
            probe.ask("GET", "/")
    finally:
        probe.way.close()
