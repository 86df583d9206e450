"""Clients of redis-py for the stores: from a URL, or once more with the settings of one that is in another process or loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from hardtack.errors import ConfigError, StoreError
from hardtack.stores import _url
from hardtack.stores._common import address
from hardtack.stores._url import Reader, StoreURL

TIMEOUT = 5.0
"""Seconds that a client made by `from_url` waits for a connection, and for an answer, where the URL says nothing else."""

SCHEMES = (
    *("redis", "rediss", "unix", "redis+unix"),
    *("redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"),
)

_EXAMPLE = "redis://user:password@host:6379/0"
_EXAMPLES = {
    "cluster": "redis+cluster://user:password@host:6379",
    "sentinel": "redis+sentinel://user:password@sentinel1:26379,sentinel2:26379/service",
    "unix": "unix:///run/redis/redis.sock",
}

_OPTIONS: dict[str, Reader] = {
    "username": _url.words,
    "password": _url.words,
    "socket_timeout": _url.seconds,
    "socket_connect_timeout": _url.seconds,
    "socket_keepalive": _url.switch,
    "socket_read_size": _url.positive_number,
    "max_connections": _url.positive_number,
    "health_check_interval": _url.whole_number,
    "client_name": _url.words,
    "protocol": lambda text: int(_url.one_of("2", "3")(text)),
}
_DB: dict[str, Reader] = {"db": _url.whole_number}
_TLS: dict[str, Reader] = {
    "ssl_cert_reqs": _url.one_of("required", "optional", "none"),
    "ssl_check_hostname": _url.switch,
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_ciphers"), _url.words),
}
_SENTINEL: dict[str, Reader] = {"sentinel_username": _url.words, "sentinel_password": _url.words}

_SYNC = (redis.Redis, redis.RedisCluster, redis.cluster.ClusterNode, redis.sentinel.Sentinel, Retry)
_ASYNC = (
    redis.asyncio.Redis,
    redis.asyncio.RedisCluster,
    redis.asyncio.cluster.ClusterNode,
    redis.asyncio.sentinel.Sentinel,
    redis.asyncio.retry.Retry,
)


def recipe(url: str, ours: Mapping[str, Reader], *, asynchronous: bool) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What makes a client for the URL, each time a new one; and the values of the options that are `ours`.

    Raises `ConfigError`.
    """
    scheme = url.partition(":")[0].lower()
    kind = "unix" if scheme == "unix" else scheme.partition("+")[2]
    parts = _url.split(url, _EXAMPLES.get(kind, _EXAMPLE))
    tls = scheme.startswith("rediss")
    readers = {
        **_OPTIONS,
        **ours,
        **(_TLS if tls else {}),
        **(_SENTINEL if kind == "sentinel" else {}),
        **({} if kind == "cluster" else _DB),
    }
    options = _url.read_options(parts.options, readers)
    taken = {name: options.pop(name) for name in ours if name in options}
    options = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, **options}
    for name, value in (("username", parts.username), ("password", parts.password)):
        if value is not None:
            options[name] = value
    if tls:
        options["ssl"] = True
    make = {"cluster": _cluster, "sentinel": _sentinel, "unix": _unix}.get(kind, _single)
    return make(parts, options, _ASYNC if asynchronous else _SYNC), taken


def _single(parts: StoreURL, options: dict[str, Any], kinds: Any) -> Callable[[], Any]:
    if len(parts.hosts) > 1:
        raise ConfigError("the store's URL has several hosts; with redis+sentinel:// or redis+cluster:// it may")
    host, port = parts.hosts[0] if parts.hosts else ("localhost", None)
    _set_database(options, parts.path.removeprefix("/"), _EXAMPLE)
    single, retry = kinds[0], kinds[4]
    return lambda: single(host=host, port=port or 6379, retry=_once_more(retry), **options)


def _unix(parts: StoreURL, options: dict[str, Any], kinds: Any) -> Callable[[], Any]:
    if parts.hosts or len(parts.path) < 2:
        message = f"the store's URL names no socket: {_EXAMPLES['unix']}, with three slashes"
        raise ConfigError(message)
    single, retry = kinds[0], kinds[4]
    return lambda: single(unix_socket_path=parts.path, retry=_once_more(retry), **options)


def _cluster(parts: StoreURL, options: dict[str, Any], kinds: Any) -> Callable[[], Any]:
    if parts.path not in ("", "/", "/0"):
        raise ConfigError("the store's URL names a database, and a Redis Cluster has none but 0")
    _, cluster, node, _, _ = kinds
    addresses = [(host, port or 6379) for host, port in parts.hosts or [("localhost", None)]]
    # It keeps its own attempts: it needs them whenever it looks for the nodes anew.
    return lambda: cluster(startup_nodes=[node(*address) for address in addresses], **options)


def _sentinel(parts: StoreURL, options: dict[str, Any], kinds: Any) -> Callable[[], Any]:
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not parts.hosts or not service:
        message = f"the store's URL names no Sentinel or no service: {_EXAMPLES['sentinel']}"
        raise ConfigError(message)
    _set_database(options, database, _EXAMPLES["sentinel"])
    addresses = [(host, port or 26379) for host, port in parts.hosts]
    asked = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl"))}
    for name in ("username", "password"):
        if (value := options.pop(f"sentinel_{name}", None)) is not None:
            asked[name] = value
    manager, retry = kinds[3], kinds[4]

    def make() -> Any:
        sentinel = manager(addresses, sentinel_kwargs={**asked, "retry": _once_more(retry)})
        return sentinel.master_for(service, retry=_once_more(retry), **options)

    return make


def _once_more(retry: Any) -> Any:
    """One more attempt after a broken connection: the server closes those that were idle. None after a timeout."""
    return retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))


def _set_database(options: dict[str, Any], path: str, example: str) -> None:
    if not path:
        return
    if "db" in options:
        raise ConfigError("the store's URL names the database twice, in its path and as the option db")
    if not (path.isascii() and path.isdecimal()):
        message = f"the store's URL has a database that is no number: {example}"
        raise ConfigError(message)
    options["db"] = int(path)


# --- where the servers are, for logs


def servers_of_url(url: str) -> list[str]:
    """The hosts with their ports, as the URL of a Cluster names them."""
    return [address(host, port or 6379) for host, port in _url.split(url, _EXAMPLE).hosts or [("localhost", None)]]


def servers_of(client: Any) -> list[str]:
    """The hosts with their ports, or the path of the socket: of Sentinel the master, if it is known, and the Sentinels.

    Nothing of a client that is not of redis-py's own making.
    """
    if isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster):
        return [address(node.host, node.port) for node in client.nodes_manager.startup_nodes.values()]
    pool = getattr(client, "connection_pool", None)
    if (manager := getattr(pool, "sentinel_manager", None)) is not None:
        master: Any = getattr(pool, "master_address", None)
        known = [] if master is None else [address(*master)]
        return [*known, *(f"Sentinel {each}" for sentinel in manager.sentinels for each in servers_of(sentinel))]
    settings = getattr(pool, "connection_kwargs", {})
    if "path" in settings:
        return [address(settings["path"])]
    return [address(settings.get("host", "localhost"), settings.get("port", 6379))] if settings else []


# --- once more, for another process or event loop

# What a pool itself puts among the settings of its connections.
_OF_THE_POOL = (
    *("himport_registry", "connection_pool", "maint_notifications_pool_handler", "event_dispatcher"),
    *("orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout"),
)
_PLAIN_POOLS = (redis.ConnectionPool, redis.asyncio.ConnectionPool)
_BLOCKING_POOLS = (redis.BlockingConnectionPool, redis.asyncio.BlockingConnectionPool)
_SENTINEL_POOLS = (redis.sentinel.SentinelConnectionPool, redis.asyncio.sentinel.SentinelConnectionPool)


def another(client: Any) -> Any:
    """A client with the same settings and connections of its own.

    Raises `StoreError` for one whose settings cannot be had again: that of a Cluster, or with a pool of another kind.
    """
    pool = getattr(client, "connection_pool", None)
    if type(pool) not in (*_PLAIN_POOLS, *_BLOCKING_POOLS, *_SENTINEL_POOLS):
        message = (
            f"this {type(client).__name__} is of another process or event loop; give the store a client that was made in "
            "this one, or use from_url(), which makes one for each"
        )
        raise StoreError(message)
    return type(client)(connection_pool=_another_pool(pool))


def _another_pool(pool: Any) -> Any:
    settings = {name: value for name, value in pool.connection_kwargs.items() if name not in _OF_THE_POOL}
    settings |= {"connection_class": pool.connection_class, "max_connections": pool.max_connections}
    if type(pool) in _BLOCKING_POOLS:
        settings["timeout"] = pool.timeout
    if type(pool) in _SENTINEL_POOLS:
        settings |= {"is_master": pool.is_master, "check_connection": pool.check_connection}
        return type(pool)(pool.service_name, _another_manager(pool.sentinel_manager), **settings)
    return type(pool)(**settings)


def _another_manager(manager: Any) -> Any:
    addresses = [
        (settings["host"], settings["port"])
        for settings in (each.connection_pool.connection_kwargs for each in manager.sentinels)
    ]
    return type(manager)(addresses, manager.min_other_sentinels, manager.sentinel_kwargs, **manager.connection_kwargs)
