"""The step-up of docs/frameworks/django.md on a real site with users, under one engine and one middleware.

python -m tests.docs.step_up_django encrypted_cookie hardtack.frameworks.django.SessionMiddleware
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.core.management import call_command  # type: ignore[import-untyped]
from tests.docs.examples import ROOT, run_page

warnings.simplefilter("error")

engine, middleware = sys.argv[1:]
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    HARDTACK_STORE="memory://",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    LOGIN_URL="/login",
    MIDDLEWARE=[middleware, "django.contrib.auth.middleware.AuthenticationMiddleware"],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    SECRET_KEY="for this test",
    SESSION_ENGINE=f"hardtack.frameworks.django.{engine}",
)
django.setup()
settings.ROOT_URLCONF = tuple(run_page(ROOT / "docs" / "frameworks" / "django.md")["urlpatterns"])
call_command("migrate", verbosity=0)

from django.contrib.auth.models import User  # type: ignore[import-untyped]  # noqa: E402  # needs the settings
from django.test import Client  # type: ignore[import-untyped]  # noqa: E402

user = User.objects.create_user("alice", password="right")
client: Any = Client()
assert client.post("/account/delete").status_code == 302  # to the login
assert client.post("/confirm", {"password": "right"}).status_code == 302
client.force_login(user)

assert client.post("/account/delete").status_code == 403
assert client.post("/confirm", {"password": "wrong"}).status_code == 403
assert client.post("/account/delete").status_code == 403
before = client.cookies["sessionid"].value
assert client.post("/confirm", {"password": "right"}).status_code == 303
assert client.cookies["sessionid"].value != before
assert User.objects.count() == 1
done = client.post("/account/delete")

assert (done.status_code, done.content) == (200, b"Farewell.")
assert client.cookies["sessionid"].value == ""
assert User.objects.count() == 0
