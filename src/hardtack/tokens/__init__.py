"""Token formats of hardtack itself: sealed records as text, and the keys that seal them."""
