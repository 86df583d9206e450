"""django-two-factor-auth: its wizards keep each step in the session, and a login by two factors marks it."""

from binascii import unhexlify

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

pytestmark = pytest.mark.django_db

CREDENTIALS = {
    "auth-username": "alice",
    "auth-password": "a password",
    "login_view-current_step": "auth",
}


@pytest.fixture
def alice():
    return User.objects.create_user("alice", password="a password")


@pytest.fixture
def key(alice):
    """Alice's second factor."""
    key = random_hex()
    TOTPDevice.objects.create(user=alice, name="default", key=key)
    return key


def code_of(key):
    """The six digits of now; `totp` gives a number, whose first digits may be noughts."""
    return f"{totp(unhexlify(key)):06d}"


def token_step(token):
    return {"token-otp_token": token, "login_view-current_step": "token"}


def test_a_login_without_a_second_factor(alice):
    """One step, and the user is not verified."""
    client = Client()

    client.post("/account/login/", CREDENTIALS)

    assert client.get("/who/").content == b"alice False"


def test_a_login_by_two_factors(key):
    """The password's step waits in the session for the token's."""
    client = Client()

    first = client.post("/account/login/", CREDENTIALS)
    between = client.get("/who/").content
    second = client.post("/account/login/", token_step(code_of(key)))

    assert (first.status_code, between, second.status_code) == (200, b" False", 302)
    assert client.get("/who/").content == b"alice True"


def test_a_wrong_token_does_not_log_in(key):
    """The wizard stays where it is, and a right token then goes on."""
    client = Client()
    client.post("/account/login/", CREDENTIALS)

    wrong = client.post("/account/login/", token_step("1"))

    assert wrong.status_code == 200
    assert client.get("/who/").content == b" False"


def test_a_token_without_the_password_does_not_log_in(key):
    """The step of another browser is not in this session."""
    other, client = Client(), Client()
    other.post("/account/login/", CREDENTIALS)

    client.post("/account/login/", token_step(code_of(key)))

    assert client.get("/who/").content == b" False"


def test_a_login_by_a_backup_token(alice, key):
    """Another form of the wizard, by the same session."""
    device = StaticDevice.objects.create(user=alice, name="backup")
    device.token_set.create(token="abcdef123")
    client = Client()
    client.post("/account/login/", CREDENTIALS)

    client.post("/account/login/", {"wizard_goto_step": "backup"})
    client.post("/account/login/", {"backup-otp_token": "abcdef123", "login_view-current_step": "backup"})

    assert client.get("/who/").content == b"alice True"


def test_a_second_factor_is_set_up(alice):
    """The secret waits in the session until a token shows that the user has it."""
    client = Client()
    client.force_login(alice)

    client.post("/account/two_factor/setup/", {"setup_view-current_step": "welcome"})
    page = client.post(
        "/account/two_factor/setup/", {"setup_view-current_step": "method", "method-method": "generator"}
    )
    if page.context_data["wizard"]["steps"].current != "generator":  # with one method there is no step to choose it
        page = client.post("/account/two_factor/setup/", {"setup_view-current_step": "welcome"})
    secret = page.context_data["keys"].get("generator")
    done = client.post(
        "/account/two_factor/setup/",
        {"setup_view-current_step": "generator", "generator-token": code_of(secret)},
    )

    assert done.status_code == 302
    assert TOTPDevice.objects.get(user=alice).key == secret
    assert client.get("/who/").content == b"alice True"


def test_a_logout_forgets_both_factors(key):
    """Nothing of the login stays."""
    client = Client()
    client.post("/account/login/", CREDENTIALS)
    client.post("/account/login/", token_step(code_of(key)))

    client.logout()

    assert client.get("/who/").content == b" False"
