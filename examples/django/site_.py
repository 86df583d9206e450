"""A Django site in one file, with hardtack: a counter, a login, one-time messages.

    python examples/django/site_.py runserver

The session is one encrypted cookie. To keep it in a store, use `SESSION_ENGINE = "hardtack.frameworks.django.store"` and
`HARDTACK_STORE = "redis://localhost"`.
"""

import os
import sys
from typing import Any

from django.conf import settings  # type: ignore[import-untyped]
from django.core.management import execute_from_command_line  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import HttpResponse, HttpResponseRedirect  # type: ignore[import-untyped]
from django.template import engines  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

settings.configure(
    DEBUG=True,
    SECRET_KEY=os.environ.get("SECRET_KEY", "for trying out only: replace it in production"),
    ROOT_URLCONF=__name__,
    SESSION_ENGINE="hardtack.frameworks.django.encrypted_cookie",
    # On a site with https also: SESSION_COOKIE_NAME="__Host-Http-sessionid", SESSION_COOKIE_SECURE=True
    HARDTACK_IDLE_TIMEOUT="2 hours",
    MIDDLEWARE=["hardtack.frameworks.django.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)

PAGE = """
<!doctype html><title>hardtack and Django</title>
<p>Visit {{ session.visits }}.
{% if session.name %}
  <p>Hello, {{ session.name }}.
  <form method="post" action="/logout">{% csrf_token %}<button>Log out</button></form>
{% else %}
  <form method="post" action="/login">{% csrf_token %}<input name="name" required> <button>Log in</button></form>
{% endif %}
"""


def index(request: Any) -> Any:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(engines["django"].from_string(PAGE).render({"session": request.session}, request))


def login(request: Any) -> Any:
    request.session.cycle_key()  # a new key on any change of privilege; django.contrib.auth does this by itself
    request.session["name"] = request.POST["name"]
    return HttpResponseRedirect("/")


def logout(request: Any) -> Any:
    request.session.flush()
    return HttpResponseRedirect("/")


urlpatterns = [path("", index), path("login", login), path("logout", logout)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
