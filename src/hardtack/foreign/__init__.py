"""The session cookies of other systems: read when taking a site over, written where two stacks run side by side."""
