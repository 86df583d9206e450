"""What goes wrong: each breaks something of a running site, and returns what makes it well again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import redis
from tests import needs

from benchmarks.soak.deployments import Site, hardtack

Heal = Callable[[], object]
Fault = Callable[[Site], Heal]


def nothing(site: Site) -> Heal:
    """For comparison."""
    return lambda: None


def killed(site: Site) -> Heal:
    """The store's server is gone, and comes back with what it had."""
    site.store.server.stop()
    return lambda: site.store.server.start()


def frozen(site: Site) -> Heal:
    """The store's server takes connections and does not answer."""
    held = site.store.server.frozen()
    held.__enter__()
    return lambda: held.__exit__(None, None, None)


def failed_over(site: Site) -> Heal:
    """The address of the store's server leads to another one."""
    site.store.server.fail_over()
    return lambda: None


def disk_full(site: Site) -> Heal:
    """There is no byte left where the store keeps its sessions."""
    free: Heal = site.store.server.fill_disk(site.process.pid)
    return free


def memory_full(site: Site) -> Heal:
    """Redis takes no more writes."""
    client = redis.Redis.from_url(site.store.server.url)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1mb")
    return lambda: client.config_set("maxmemory", "0")


def worker_killed(site: Site) -> Heal:
    """SIGKILL for one worker, which its server starts again: the largest process, as servers have helpers too."""
    os.kill(max(site.workers(), key=site.memory_of), signal.SIGKILL)
    return lambda: None


def restarted(site: Site) -> Heal:
    """gunicorn replaces its workers, as for a new version of the site."""
    os.kill(site.process.pid, signal.SIGHUP)
    return lambda: None


def key_rotated(site: Site) -> Heal:
    """A key is added and issues as soon as it may, on the running site."""
    new = hardtack("keys", "add", str(site.keys)).split()[0]
    time.sleep(2.5)
    hardtack("keys", "issue", str(site.keys), new)
    return lambda: hardtack("keys", "list", str(site.keys))


def slots_moved(site: Site) -> Heal:
    """A third of a master's slots go to another, keys and all, under load."""
    first, second, _ = site.store.server.nodes
    cli = needs.find_program("redis-cli", "valkey-cli")
    clients: list[Any] = [redis.Redis(port=node.port) for node in (first, second)]
    names = [each.execute_command("CLUSTER MYID").decode() for each in clients]
    options = ["--cluster-from", names[0], "--cluster-to", names[1], "--cluster-slots", "1800", "--cluster-yes"]
    moving = subprocess.Popen(
        [cli, "--cluster", "reshard", f"127.0.0.1:{first.port}", *options], stdout=subprocess.DEVNULL
    )

    def moved() -> None:
        assert moving.wait(60) == 0, "redis-cli could not move the slots"

    return moved


def master_killed(site: Site) -> Heal:
    """One of three masters is gone, and comes back with what it had."""
    site.store.server.nodes[2].stop()
    return lambda: site.store.server.nodes[2].start()
