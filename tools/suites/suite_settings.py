"""The settings of a Django suite, SUITE_SETTINGS, with the sessions that SUITE_SESSIONS names in the place of its own."""

import os
from importlib import import_module

from suite_plugin import changed

_theirs = import_module(os.environ["SUITE_SETTINGS"])
globals().update(changed({name: getattr(_theirs, name) for name in dir(_theirs) if name.isupper()}))
