"""Engines: where the state of a session lives, in the cookie itself or in a store."""
