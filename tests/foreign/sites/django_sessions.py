"""The real Django's sessions in a database, for tests: `python django_sessions.py FILE SECRET`, one JSON request a line."""

from __future__ import annotations

import json
import sys

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]

settings.configure(
    SECRET_KEY=sys.argv[2],
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
)
django.setup()

from django.contrib.sessions.backends.db import SessionStore  # type: ignore[import-untyped]  # noqa: E402
from django.core.management import call_command  # type: ignore[import-untyped]  # noqa: E402

call_command("migrate", verbosity=0)
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    store = SessionStore(request.get("key"))
    if "data" in request:
        store.update(request["data"])
        store.save()
    elif request.get("flush"):
        store.flush()
    print(json.dumps([store.session_key, dict(store.items())]), flush=True)
