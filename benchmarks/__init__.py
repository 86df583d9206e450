"""What hardtack costs, against the floor and its peers: `make bench` writes results.md and results.svg beside this file."""
