"""Compile hardtack's readers of Perl's and PHP's documents: `pip install ./speedups`, in the repository, where a C compiler is.

The sources are those of `hardtack.foreign`, copied here under another package's name. Compiled by mypyc they check
each index as before, so that a damaged document is the same `InvalidToken`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup

HERE = Path(__file__).parent
SOURCES = HERE.parent / "src"
PACKAGE = "hardtack_speedups"
MODULES = ("perl/reader", "perl/snappy", "perl/sereal", "php_reader")

os.chdir(HERE)
os.environ["MYPYPATH"] = str(SOURCES)
version = re.search(r'__version__ = "(.+)"', (SOURCES / "hardtack" / "__init__.py").read_text("utf-8"))
assert version is not None
target = HERE / PACKAGE
target.mkdir(exist_ok=True)
(target / "__init__.py").write_text(
    f'"""Compiled parts of hardtack {version[1]}."""\n\n__version__ = "{version[1]}"\n', "utf-8"
)
paths = []
for name in MODULES:
    source = (SOURCES / "hardtack" / "foreign" / f"{name}.py").read_text("utf-8")
    path = target / Path(name).with_suffix(".py").name
    path.write_text(source.replace("hardtack.foreign.perl", PACKAGE), "utf-8")
    paths.append(f"{PACKAGE}/{path.name}")
setup(
    version=version[1],
    ext_modules=mypycify(["--ignore-missing-imports", "--follow-imports=silent", *paths], opt_level="3"),
)
