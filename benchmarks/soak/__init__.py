"""Ten minutes of an operator's bad days, into the table of docs/operations.md: `make soak`, or `python -m benchmarks.soak`."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
