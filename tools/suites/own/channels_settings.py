"""A site with Channels, for test_channels.py."""

import tempfile
from pathlib import Path

SECRET_KEY = "a secret of the suites, of 32 characters or more"
_FILE = Path(tempfile.mkdtemp()) / "channels.sqlite3"
DATABASES = {
    # A file, and not in memory: Channels asks the database in threads of its own.
    "default": {"ENGINE": "django.db.backends.sqlite3", "TEST": {"NAME": _FILE}}
}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "channels"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "channels_settings"
USE_TZ = True
urlpatterns: list[object] = []
