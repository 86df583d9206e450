"""What the endpoints refuse: each malformed proof, each that is another's, and each request that is no browser's own."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.binding.kit import BoundSite, page

from hardtack import values
from hardtack.binding.tokens import Tokens
from hardtack.events import LoggedIn, ProofFailed
from hardtack.testing import DbscClient
from hardtack.testing.dbsc import HeaderPairs, Response, make_jwt

START = "https://example.org/hardtack/session/start"
REFRESH = "https://example.org/hardtack/session/refresh"
KEY = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def browser(site: BoundSite) -> DbscClient:
    """One that is logged in, and has registered nothing yet."""
    browser = site.browser(registers=False)
    browser.post("/login")
    return browser


def offered(browser: DbscClient) -> str:
    """The challenge of the offer."""
    return browser.offers[0][1]


def start(browser: DbscClient, token: str, *headers: tuple[str, str]) -> Response:
    return browser._send("POST", START, [("Secure-Session-Response", token), *headers], b"")


def jwt(head: Any, claims: Any, sign: Callable[[bytes], bytes] = lambda message: b"") -> str:
    """A JWT of any header and claims."""
    parts = [
        part if isinstance(part, str) else values.encode_bytes(json.dumps(part).encode()) for part in (head, claims)
    ]
    signed = ".".join(parts)
    return f"{signed}.{values.encode_bytes(sign(signed.encode()))}"


def ec_jwk(key: ec.EllipticCurvePrivateKey = KEY) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    size = (key.curve.key_size + 7) // 8
    x, y = (values.encode_bytes(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def rsa_jwk(key: rsa.RSAPrivateKey = RSA, e: str = "AQAB") -> dict[str, str]:
    modulus = key.public_key().public_numbers().n
    return {"kty": "RSA", "e": e, "n": values.encode_bytes(modulus.to_bytes((modulus.bit_length() + 7) // 8, "big"))}


def rs256(message: bytes) -> bytes:
    return RSA.sign(message, PKCS1v15(), SHA256())


def refused(site: BoundSite, browser: DbscClient, response: Response, reason: str) -> None:
    """Nothing was set, and the event says why."""
    assert 400 <= response.status < 500
    assert response.get("Set-Cookie") is None
    assert site.told(ProofFailed)[-1].reason == reason
    assert page(browser.get("/")) == "alice unbound 0"


# --- what is taken


def test_a_quoted_proof_is_taken(site: BoundSite, browser: DbscClient) -> None:
    """The specification says so, and browsers send it bare."""
    token = make_jwt(KEY, offered(browser), registers=True)

    assert start(browser, f' "{token}" ').status == 200


def test_an_rsa_key_is_taken(site: BoundSite, browser: DbscClient) -> None:
    """RS256 is what older security chips have."""
    token = jwt({"alg": "RS256", "typ": "dbsc+jwt", "jwk": rsa_jwk()}, {"jti": offered(browser)}, rs256)
    answer = start(browser, token)
    assert answer.status == 200
    assert page(browser.get("/")) == "alice bound 0"
    identifier = json.loads(answer.body)["session_identifier"]

    challenge = (answer.get("Secure-Session-Challenge") or "").split('"')[1]
    proof = jwt({"alg": "RS256", "typ": "dbsc+jwt"}, {"jti": challenge, "aud": "x", "sub": "y"}, rs256)
    headers = [("Sec-Secure-Session-Id", f'"{identifier}"'), ("Secure-Session-Response", proof)]

    assert browser._send("POST", REFRESH, headers, b"").status == 200


# --- malformed


@pytest.mark.parametrize(
    "token",
    [
        "",
        '"',
        "x",
        "..",
        "a.b.c",
        "a" * 5000,
        "é.é.é",
        "W10.W10.",
        "e30.e30.",
        "e30.e30.AA",
        "bnVsbA.e30.",
        jwt("9" * 40, {}),
        jwt(values.encode_bytes(b"[" * 2000), {}),
        jwt(values.encode_bytes(b'{"alg":' + b"1" * 2500 + b"}"), {}),
        jwt(values.encode_bytes(b"\xff\xfe{"), {}),
        jwt({"alg": "ES256", "typ": "JOSE", "jwk": ec_jwk()}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": ec_jwk(), "crit": ["b64"]}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": ec_jwk()}, {"jti": 7}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": ec_jwk()}, {}),
        jwt({"alg": 7, "typ": "dbsc+jwt", "jwk": ec_jwk()}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt"}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": []}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": {"kty": "oct", "k": "AAAA"}}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": {**ec_jwk(), "crv": "P-384"}}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": {**ec_jwk(), "x": "AAAA"}}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": {**ec_jwk(), "x": 7}}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": {**ec_jwk(), "x": ec_jwk()["y"]}}, {"jti": "x"}),
        jwt({"alg": "RS256", "typ": "dbsc+jwt", "jwk": {**rsa_jwk(), "n": "A" * 900}}, {"jti": "x"}),
        jwt({"alg": "RS256", "typ": "dbsc+jwt", "jwk": {**rsa_jwk(), "n": "AAAA"}}, {"jti": "x"}),
        jwt({"alg": "RS256", "typ": "dbsc+jwt", "jwk": {**rsa_jwk(), "n": "_" * 341 + "g"}}, {"jti": "x"}),
        jwt({"alg": "RS256", "typ": "dbsc+jwt", "jwk": rsa_jwk(e="Aw")}, {"jti": "x"}),
        jwt({"alg": "none", "typ": "dbsc+jwt", "jwk": ec_jwk()}, {"jti": "x"}),
        jwt({"alg": "ES256", "typ": "dbsc+jwt", "jwk": rsa_jwk()}, {"jti": "x"}),
        jwt({"alg": "RS256", "typ": "dbsc+jwt", "jwk": ec_jwk()}, {"jti": "x"}),
    ],
    ids=lambda token: token[:20],
)
def test_what_is_no_proof_is_refused(site: BoundSite, browser: DbscClient, token: str) -> None:
    """With 400, and an event."""
    response = start(browser, token)

    assert response.status == 400
    refused(site, browser, response, "malformed")


def test_a_request_without_a_proof_is_refused(site: BoundSite, browser: DbscClient) -> None:
    """It registers nothing."""
    refused(site, browser, browser._send("POST", START, [], b""), "malformed")


@pytest.mark.parametrize("bits", [1024, 4104])
def test_a_key_that_is_too_small_or_too_large_is_refused(site: BoundSite, browser: DbscClient, bits: int) -> None:
    """A small one can be broken, and a large one costs the server time."""
    modulus = (1 << (bits - 1)) | 1
    jwk = {"kty": "RSA", "e": "AQAB", "n": values.encode_bytes(modulus.to_bytes(bits // 8, "big"))}
    token = jwt({"alg": "RS256", "typ": "dbsc+jwt", "jwk": jwk}, {"jti": offered(browser)}, rs256)

    refused(site, browser, start(browser, token), "malformed")


# --- signatures


@pytest.mark.parametrize("signature", [b"", b"x", bytes(64), bytes(63), b"\xff" * 64, bytes(256)])
def test_a_signature_that_is_none_is_refused(site: BoundSite, browser: DbscClient, signature: bytes) -> None:
    """Zeros, too long, too short."""
    head = {"alg": "ES256", "typ": "dbsc+jwt", "jwk": ec_jwk()}
    token = jwt(head, {"jti": offered(browser)}, lambda message: signature)

    refused(site, browser, start(browser, token), "signature")


def test_hs256_with_the_public_key_as_its_secret_is_refused(site: BoundSite, browser: DbscClient) -> None:
    """The algorithm is the key's, whatever the message says."""
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    head = {"alg": "HS256", "typ": "dbsc+jwt", "jwk": ec_jwk()}
    token = jwt(head, {"jti": offered(browser)}, lambda message: hmac.digest(public, message, "sha256"))

    refused(site, browser, start(browser, token), "malformed")


def test_a_signature_of_another_key_is_refused(site: BoundSite, browser: DbscClient) -> None:
    """Both of the same kind, and of the other."""
    other = ec.generate_private_key(ec.SECP256R1())
    signed = make_jwt(other, offered(browser), registers=True)
    head = {"alg": "ES256", "typ": "dbsc+jwt", "jwk": ec_jwk()}
    token = jwt(head, {"jti": offered(browser)}, lambda message: values.decode_bytes(signed.split(".")[2]))
    refused(site, browser, start(browser, token), "signature")

    head = {"alg": "RS256", "typ": "dbsc+jwt", "jwk": rsa_jwk()}
    refused(site, browser, start(browser, jwt(head, {"jti": offered(browser)}, lambda message: bytes(64))), "signature")


# --- challenges


def test_a_challenge_of_another_session_is_refused(site: BoundSite, browser: DbscClient) -> None:
    """Somebody else's offer registers nothing here."""
    other = site.browser(registers=False)
    other.post("/login")

    refused(site, browser, start(browser, make_jwt(KEY, offered(other), registers=True)), "challenge")


@pytest.mark.parametrize("challenge", ["", "x", "AAAA", "A" * 80])
def test_a_foreign_challenge_is_refused(site: BoundSite, browser: DbscClient, challenge: str) -> None:
    """One that the server did not make."""
    refused(site, browser, start(browser, make_jwt(KEY, challenge, registers=True)), "challenge")


def test_a_challenge_of_another_application_is_refused(site: BoundSite, browser: DbscClient) -> None:
    """Of another purpose under the same key, or of another cookie."""
    from tests.kit import KEY as RING_KEY

    from hardtack import Keyring

    raw, now = values.decode_bytes(site.told(LoggedIn)[0].id), int(site.clock.now * 1000)
    ring = Keyring(RING_KEY)
    for tokens in (Tokens(ring, "other", "__Host-Http-session"), Tokens(ring, "", "other")):
        challenge = tokens.registration(raw, now)
        refused(site, browser, start(browser, make_jwt(KEY, challenge, registers=True)), "challenge")
    good = Tokens(ring, "", "__Host-Http-session").registration(raw, now)
    assert start(browser, make_jwt(KEY, good, registers=True)).status == 200


def test_a_challenge_of_another_kind_is_refused(site: BoundSite, browser: DbscClient) -> None:
    """No token stands for another: neither a cookie for a challenge nor the other way round."""
    start(browser, make_jwt(KEY, offered(browser), registers=True))
    for (name, _), cookie in list(browser.cookies.items()):
        response = start(browser.copy(), make_jwt(KEY, cookie.value, registers=True))
        assert response.status == 403, name
    (bound,) = [place for place in browser.cookies if "bound" in place[0]]
    browser.cookies[bound].value = offered(browser)
    assert page(browser.get("/")) == "alice unbound 0"


# --- who may register


@pytest.mark.parametrize("header", [("Origin", "https://example.org"), ("Sec-Fetch-Site", "same-origin")])
def test_a_script_on_the_page_registers_nothing(site: BoundSite, browser: DbscClient, header: tuple[str, str]) -> None:
    """A browser's own request has no such header, and a script cannot leave it out."""
    token = make_jwt(KEY, offered(browser), registers=True)

    refused(site, browser, start(browser, token, header), "script")


def test_a_script_on_the_page_proves_nothing(site: BoundSite) -> None:
    """Nor asks for a challenge."""
    browser = site.logged_in()
    (binding,) = browser.bindings
    headers = [("Sec-Secure-Session-Id", binding), ("Sec-Fetch-Mode", "cors")]

    response = browser._send("POST", REFRESH, headers, b"")

    assert response.status == 403
    assert response.get("Secure-Session-Challenge") is None


def test_the_holder_of_a_copied_cookie_cannot_bind_it_later(site: BoundSite, browser: DbscClient) -> None:
    """Six minutes after the login no challenge is good, though it was made in time."""
    challenge = offered(browser)
    site.clock.now += 361

    refused(site, browser, start(browser.copy(), make_jwt(KEY, challenge, registers=True)), "late")


def test_a_bound_session_is_not_bound_again(site: BoundSite) -> None:
    """Neither by a thief nor by a second key of the same browser."""
    browser = site.browser(registers=False)
    browser.post("/login")
    challenge = offered(browser)
    browser.register()
    assert start(browser.copy(), make_jwt(KEY, challenge, registers=True)).status == 403
    assert page(browser.get("/")) == "alice bound 0"

    assert start(browser.copy(), make_jwt(KEY, challenge, registers=True)).status == 403
    assert site.told(ProofFailed)[-1].reason == "bound"


def test_a_thief_that_registers_meanwhile_does_not_bind_the_key_of_the_browser(site: BoundSite) -> None:
    """Each bound cookie binds to its own key: who is first has the session, and nobody has a mixture."""
    browser = site.browser(registers=False)
    browser.post("/login")
    thief = browser.copy()
    start(thief, make_jwt(KEY, offered(browser), registers=True))
    browser.register()

    assert page(browser.get("/")) == "alice bound 0"
    site.clock.now += 10
    assert page(thief.get("/")) == "None unbound 0"


def test_an_anonymous_session_registers_nothing(site: BoundSite) -> None:
    """Nor does a request without a session."""
    anonymous = site.browser()
    anonymous.get("/count")
    token = make_jwt(KEY, "x", registers=True)

    assert start(anonymous, token).status == 403
    assert site.told(ProofFailed)[-1].reason == "late"
    assert start(site.browser(), token).status == 403
    assert site.told(ProofFailed)[-1].reason == "unknown"


# --- refresh


def test_a_proof_without_an_id_is_refused(site: BoundSite) -> None:
    """Or with one that is none."""
    browser = site.logged_in()
    for headers in ([], [("Sec-Secure-Session-Id", "x")], [("Sec-Secure-Session-Id", "+" * 22)]):
        assert browser._send("POST", REFRESH, headers, b"").status == 403


def refresh(browser: DbscClient, token: str) -> Response:
    (binding,) = browser.bindings
    headers: HeaderPairs = [("Sec-Secure-Session-Id", binding), ("Secure-Session-Response", token)]
    return browser._send("POST", REFRESH, headers, b"")


def test_a_refused_proof_is_asked_for_again(site: BoundSite) -> None:
    """With a new challenge, and no cookie."""
    browser, other = site.logged_in(), site.logged_in()
    (mine,), (others,) = browser.bindings.values(), other.bindings.values()
    assert mine.challenge is not None
    assert others.challenge is not None
    cases = {
        "x.y.z": "malformed",
        make_jwt(KEY, mine.challenge): "signature",
        make_jwt(mine.key, others.challenge): "challenge",
        make_jwt(mine.key, "x"): "challenge",
        jwt({"alg": "none", "typ": "dbsc+jwt"}, {"jti": mine.challenge}): "signature",
        jwt({"alg": "RS256", "typ": "dbsc+jwt", "jwk": rsa_jwk()}, {"jti": mine.challenge}, rs256): "signature",
    }

    for token, reason in cases.items():
        response = refresh(browser, token)
        assert response.status == 403
        assert response.get("Set-Cookie") is None
        assert response.get("Secure-Session-Challenge") is not None
        assert site.told(ProofFailed)[-1].reason == reason


def test_an_expired_challenge_is_replaced_in_silence(site: BoundSite) -> None:
    """One that was sent in advance is often too old."""
    browser = site.logged_in()
    (binding,) = browser.bindings.values()
    assert binding.challenge is not None
    site.clock.now += 900
    response = refresh(browser, make_jwt(binding.key, binding.challenge))

    assert response.status == 403
    assert not site.told(ProofFailed)


def test_a_challenge_from_ahead_is_refused(site: BoundSite) -> None:
    """More than a minute ahead no clock of ours is."""
    browser = site.logged_in()
    (binding,) = browser.bindings.values()
    assert binding.challenge is not None
    site.clock.now -= 61

    assert refresh(browser, make_jwt(binding.key, binding.challenge)).status == 403


def test_another_binding_of_a_bound_session_is_over(site: BoundSite) -> None:
    """The session that opens has another key."""
    browser, other = site.logged_in(), site.logged_in()
    browser.bindings = dict(other.bindings)

    browser.refresh(now=True)

    assert not browser.bindings


def test_a_binding_whose_record_cannot_be_read_is_nobodys(site: BoundSite) -> None:
    """What stands in the record in its place binds to no key."""
    from hardtack import Record
    from hardtack.binding.binding import bond_of

    for kept in (["x"], [1, 2, 3], ["AA", "AA", "+"], []):
        bond = bond_of(Record(bytes(16), 1, None, 1, None, {"binding": kept}))
        assert bond is not None
        assert bond.key == b""


# --- the requests themselves


def test_only_post_is_answered(site: BoundSite, browser: DbscClient) -> None:
    """Everything else under the endpoints' beginning is no page of the application."""
    assert browser._send("GET", START, [], b"").status == 405
    assert browser._send("POST", START[:-1], [], b"").status == 404


@pytest.mark.parametrize(
    "headers", [[("Content-Length", "1025")], [("Content-Length", "1" * 30)], [("Content-Length", "-1")]]
)
def test_a_body_is_refused(site: BoundSite, browser: DbscClient, headers: HeaderPairs) -> None:
    """Browsers send none, and nobody reads it."""
    from hardtack.adapters import device_answer

    found = {name.lower(): value for name, value in headers}
    answer = device_answer(site.sessions, "POST", "/hardtack/session/start", "", found.get)
    assert answer is not None
    assert answer.status == 413
    answer = device_answer(site.sessions, "POST", "/hardtack/session/start", "", {"transfer-encoding": "chunked"}.get)
    assert answer is not None
    assert answer.status == 413


def test_no_answer_is_kept_by_a_cache(site: BoundSite, browser: DbscClient) -> None:
    """Neither one that sets cookies nor one that does not."""
    assert start(browser, "x").get("Cache-Control") == "no-store"
    answer = start(browser, make_jwt(KEY, offered(browser), registers=True))
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("Content-Type") == "application/json"


def test_keys_are_read_from_their_own_bytes_alone() -> None:
    """A key cookie or a record holds them; what another version may have written is none."""
    from hardtack.binding.jwk import DeviceKey

    for raw in (b"", b"E", b"E" + bytes(64), b"X" + bytes(64), b"R" + bytes(256), b"R" + b"\xff" * 256 + b"\xfe"):
        with pytest.raises(ValueError):
            DeviceKey.from_raw(raw)


def test_a_key_that_was_sealed_is_loaded_once() -> None:
    """A browser proves it again and again; but who registers many keys has no more than a thousand kept."""
    from hardtack.binding.jwk import DeviceKey

    keys = [ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(1025)]
    first, *others = (b"E" + key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:] for key in keys)
    kept = DeviceKey.from_sealed(first)
    assert kept.raw == first
    assert DeviceKey.from_sealed(first) is kept

    for raw in others:
        DeviceKey.from_sealed(raw)

    assert DeviceKey.from_sealed(first) is not kept
    for _ in range(2):
        with pytest.raises(ValueError):
            DeviceKey.from_sealed(b"E" + bytes(64))


def test_a_record_of_another_form_proves_nothing(site: BoundSite) -> None:
    """Whatever stands beside it."""
    browser = site.logged_in()
    header = "; ".join(f"{name}={cookie.value}" for (name, _), cookie in browser.cookies.items())
    binding = site.sessions.core.binding
    assert binding is not None
    for kept in (None, [], ["a", "b"], ["a", 7, "b"], ["a", "b", "c"], "abc"):
        assert binding.proved_at(header, kept) == 0
