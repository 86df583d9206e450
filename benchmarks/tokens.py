"""Sealing and opening: hardtack's tokens against the floor, and against the formats of its peers."""

from __future__ import annotations

import base64
import json
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import django.conf
import itsdangerous
import ormsgpack
import pybase64
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core import signing
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from litestar.middleware.session.client_side import ClientSideSessionBackend, CookieBackendConfig

from benchmarks.interleave import PAYLOADS, Times, interleave
from hardtack import CookieEngine, EncryptedToken, Key, Keyring, Record, SessionManager, SignedToken, values
from hardtack.errors import InvalidToken
from hardtack.protocols import Context

SECRET = "benchmark secret of at least 32 characters"
NAME = "__Host-Http-session"
NOW = int(time.time())
CONTEXT = Context(NAME, "", NOW)

Pair = tuple[Callable[[], Any], Callable[[], Any], int]
"""Seal, open, and the characters of the sealed text."""


def record(data: dict[str, Any]) -> Record:
    return Record(os.urandom(16), NOW, None, NOW, "alice", {}, data)


def ours(token: EncryptedToken | SignedToken, data: dict[str, Any]) -> Pair:
    kept = record(data)
    text = token.seal(kept, CONTEXT)[NAME]
    cookies = {NAME: [text]}
    assert token.open(cookies, CONTEXT).data == data
    return lambda: token.seal(kept, CONTEXT), lambda: token.open(cookies, CONTEXT), len(text)


def floor(data: dict[str, Any]) -> Pair:
    """The C calls that sealing and opening cannot do without, back to back: encode, random, clock, AES-GCM, base64."""
    packb, unpackb, urandom, clock = ormsgpack.packb, ormsgpack.unpackb, os.urandom, time.time
    encode, decode = pybase64.urlsafe_b64encode, pybase64.b64decode
    cipher, aad = AESGCM(bytes(32)), bytes(24)
    default, option, hook = values.default, values.OPTIONS, values.ext_hook
    fields = [bytes(16), NOW, None, NOW, "alice", {}, data]

    def seal() -> bytes:
        packed = packb(fields, default, option)
        nonce = urandom(12)
        clock()
        return encode(nonce + cipher.encrypt(nonce, packed, aad))

    text = seal()

    def open_() -> Any:
        raw = decode(text, b"-_", validate=True)
        clock()
        return unpackb(cipher.decrypt(raw[:12], raw[12:], aad), ext_hook=hook)

    return seal, open_, len(text)


def starlette(data: dict[str, Any]) -> Pair:
    signer = itsdangerous.TimestampSigner(SECRET)

    def seal() -> str:
        return signer.sign(b64encode(json.dumps(data).encode())).decode()

    text = seal()
    return seal, lambda: json.loads(b64decode(signer.unsign(text, max_age=1209600))), len(text)


def flask(data: dict[str, Any]) -> Pair:
    app = Flask("benchmark")
    app.secret_key = SECRET
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    text = str(serializer.dumps(data))
    return lambda: serializer.dumps(data), lambda: serializer.loads(text, max_age=2678400), len(text)


def plain_itsdangerous(data: dict[str, Any]) -> Pair:
    serializer = itsdangerous.URLSafeTimedSerializer(SECRET)
    text = str(serializer.dumps(data))
    return lambda: serializer.dumps(data), lambda: serializer.loads(text, max_age=2678400), len(text)


def django_signed(data: dict[str, Any]) -> Pair:
    if not django.conf.settings.configured:
        django.conf.settings.configure(SECRET_KEY=SECRET)
    options: dict[str, Any] = {"salt": "django.contrib.sessions.backends.signed_cookies"}

    def seal() -> str:
        return signing.dumps(data, compress=True, **options)

    text = seal()
    return seal, lambda: signing.loads(text, max_age=1209600, **options), len(text)


def litestar(data: dict[str, Any]) -> Pair:
    backend = ClientSideSessionBackend(CookieBackendConfig(secret=bytes(32)))
    scope: Any = {}
    chunks = backend.dump_data(data, scope)
    return lambda: backend.dump_data(data, scope), lambda: backend.load_data(chunks), sum(map(len, chunks))


def aiohttp_fernet(data: dict[str, Any]) -> Pair:
    storage = EncryptedCookieStorage(base64.urlsafe_b64encode(bytes(32)).decode())
    fernet: Fernet = storage._fernet
    kept = {"created": NOW, "session": data}
    text = fernet.encrypt(json.dumps(kept).encode())
    return lambda: fernet.encrypt(json.dumps(kept).encode()), lambda: json.loads(fernet.decrypt(text)), len(text)


def formats(data: dict[str, Any]) -> dict[str, Pair]:
    key = Key.generate()
    return {
        "floor": floor(data),
        "hardtack encrypted": ours(EncryptedToken(key), data),
        "hardtack signed": ours(SignedToken(key), data),
        "Starlette (signed)": starlette(data),
        "Flask (signed)": flask(data),
        "itsdangerous (signed)": plain_itsdangerous(data),
        "Django signed_cookies": django_signed(data),
        "Litestar (encrypted)": litestar(data),
        "aiohttp-session (Fernet)": aiohttp_fernet(data),
    }


def measure(size: str, rounds: int = 60) -> tuple[Times, dict[str, int]]:
    """Seal and open of one payload by every format: `<format> seal`, `<format> open`; and the sizes."""
    pairs = formats(PAYLOADS[size])
    functions = {}
    for name, (seal, open_, _) in pairs.items():
        functions[f"{name} seal"] = seal
        functions[f"{name} open"] = open_
    return interleave(functions, rounds), {name: pair[2] for name, pair in pairs.items()}


def measure_rings(rounds: int = 60) -> float:
    """Opening M under a ring of 20 keys, in times of opening it under one."""
    key = Key.generate()
    one, twenty = EncryptedToken(key), EncryptedToken(Keyring(key, [Key.generate() for _ in range(19)]))
    cookies = {NAME: [one.seal(record(PAYLOADS["M"]), CONTEXT)[NAME]]}
    times = interleave({"1": lambda: one.open(cookies, CONTEXT), "20": lambda: twenty.open(cookies, CONTEXT)}, rounds)
    return times.ratio("20", "1")


def measure_refusals(rounds: int = 30) -> dict[str, float]:
    """Refusing bad tokens, in times of opening a good M."""
    key = Key.generate()
    token = EncryptedToken(key)
    good = token.seal(record(PAYLOADS["M"]), CONTEXT)[NAME]
    header = pybase64.b64decode(good + "==", b"-_")[:6]
    prefix = pybase64.b64decode(good + "==", b"-_")[6:18]

    def text(raw: bytes) -> str:
        return pybase64.urlsafe_b64encode(raw).decode().rstrip("=")

    bad = {
        "junk of 8 KB": "!" * 8000,
        "not canonical, 8 KB": "A" * 7998 + "B",
        "unknown key, 8 KB": text(b"\x01" + os.urandom(6000)),
        "flipped bit": good[:-10] + ("A" if good[-10] != "A" else "B") + good[-9:],
        "forged, known prefix, 8 KB": text(header + prefix + os.urandom(5980)),
        "forged, random prefix, 600 bytes": text(header + os.urandom(440)),
        "forged, random prefix, 8 KB": text(header + os.urandom(5990)),
    }

    def refuse(value: str) -> Callable[[], None]:
        cookies = {NAME: [value]}

        def call() -> None:
            try:
                token.open(cookies, CONTEXT)
            except InvalidToken:
                return
            raise AssertionError(value)

        return call

    functions: dict[str, Callable[[], object]] = {name: refuse(value) for name, value in bad.items()}
    cookies = {NAME: [good]}
    functions["good"] = lambda: token.open(cookies, CONTEXT)
    times = interleave(functions, rounds)
    return {name: times.ratio(name, "good") for name in bad}


def measure_session(rounds: int = 60) -> Times:
    """The whole `open` and `commit` of M, read and written, beside the token alone."""
    sessions = SessionManager(CookieEngine(Key.generate()))
    session = sessions.open()
    session.update(PAYLOADS["M"])
    header = sessions.commit(session).set_cookies[0].partition(";")[0]

    def untouched() -> None:
        sessions.commit(sessions.open(header))

    def read() -> None:
        session = sessions.open(header)
        session.get("user_id")
        sessions.commit(session)

    def written() -> None:
        session = sessions.open(header)
        session["user_id"] = 1
        sessions.commit(session)

    return interleave({"untouched": untouched, "read": read, "written": written}, rounds)
