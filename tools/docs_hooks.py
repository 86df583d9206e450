"""What `make docs` adds to the pages: an API reference from the docstrings, the version, and links that lead out of docs/."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]

API: Final = {
    "hardtack": "Sessions, managers, engines, tokens and keys: all that most applications need.",
    "hardtack.errors": "What can go wrong.",
    "hardtack.events": "What happens to sessions.",
    "hardtack.stores": "Where sessions are kept.",
    "hardtack.protocols": "What a store, a token format and an engine must do.",
    "hardtack.adapters": "All that an adapter of a framework may use.",
    "hardtack.foreign": "Cookies of other systems.",
    "hardtack.frameworks": "The adapters.",
    "hardtack.testing": "Clients that are logged in, and contracts.",
}
"""The public modules, each a page of the reference."""

_OUTSIDE: Final = re.compile(r"\]\(((?:\.\./)+[^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Say the version in the footer, and put the API's pages into the navigation."""
    text = (ROOT / "src" / "hardtack" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert version is not None
    config.copyright = f"hardtack {version[1]}"
    reference = next(part["Reference"] for part in config.nav if "Reference" in part)
    reference[-1]["API"] = [{name: f"api/{name}.md"} for name in API]
    howto = next(part["How to"] for part in config.nav if "How to" in part)
    howto += unlisted((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return config


def unlisted(configuration: str) -> list[str]:
    """The pages that the navigation does not name: they stand at the end of the how-tos until somebody puts them elsewhere."""
    pages = sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))
    listed = set(listed_in(configuration))
    return [page for page in pages if page not in listed]


def listed_in(configuration: str) -> list[str]:
    """The pages that the navigation names."""
    return re.findall(r"(\S+\.md)$", configuration.partition("\nnav:")[2], re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """A page for each public module."""
    from mkdocs.structure.files import File  # type: ignore[import-not-found]

    for name in API:
        files.append(File.generated(config, f"api/{name}.md", content=page_of(name)))
    return files


def page_of(module: str) -> str:
    """The page of a public module, which mkdocstrings fills; of a package of stores or formats with all of its modules."""
    text = f"# {module}\n\n{API[module]}\n\n{_entry(module)}"
    if module in ("hardtack.stores", "hardtack.foreign", "hardtack.frameworks"):
        for path in sorted((ROOT / "src" / module.replace(".", "/")).glob("[a-z]*.py")):
            if names(f"{module}.{path.stem}"):
                text += f"\n## {module}.{path.stem}\n\n{_entry(f'{module}.{path.stem}')}"
    return text


def _entry(module: str) -> str:
    options = {"show_root_heading": "false", "heading_level": 3, "members": names(module)}
    return f"::: {module}\n    options:\n" + "".join(f"      {name}: {value}\n" for name, value in options.items())


def names(module: str) -> list[str]:
    """What `__all__` has, in its order; the public classes and functions of a module that has none."""
    path = ROOT / "src" / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(source.read_text(encoding="utf-8")).body
    for each in body:
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__all__":
            return list(ast.literal_eval(each.value))
    named = [each for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    return [each.name for each in named if not each.name.startswith("_")]


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links to files beside docs/ lead to the repository."""
    here = (ROOT / "docs" / page.file.src_uri).parent

    def mended(match: re.Match[str]) -> str:
        path, hash_, anchor = match[1].partition("#")
        found = (here / path).resolve()
        if found.is_relative_to(ROOT / "docs"):
            return match[0]
        kind = "tree" if found.is_dir() else "blob"
        return f"]({config.extra['repository']}/{kind}/main/{found.relative_to(ROOT)}{hash_}{anchor})"

    return _OUTSIDE.sub(mended, markdown)
