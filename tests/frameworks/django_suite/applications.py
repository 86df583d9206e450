"""The settings of Django's own tests with another SESSION_ENGINE: that of the environment variable TESTED_ENGINE."""

from __future__ import annotations

import os

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}, "other": {"ENGINE": "django.db.backends.sqlite3"}}
SECRET_KEY = "a secret of Django's tests of 32 characters or more"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False

SESSION_ENGINE = os.environ["TESTED_ENGINE"]
HARDTACK_STORE = "memory://"
