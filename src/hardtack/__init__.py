"""Web sessions for Python. The public names, and nothing else; docs/ and the README show how they fit together."""

__version__ = "0.1.0"
