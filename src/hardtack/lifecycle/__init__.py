"""The life of a session within a request: load, take over, decide, save, and tell."""
