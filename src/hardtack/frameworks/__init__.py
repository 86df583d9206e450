"""One module a framework, each importing its own framework and nothing of the others."""
