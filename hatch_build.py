"""Where the package is built: the README's links and pictures lead to the repository, since PyPI has no files beside it."""

import runpy
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface  # type: ignore[import-not-found]


class CustomMetadataHook(MetadataHookInterface):
    """Sets `readme`, which pyproject.toml calls dynamic."""

    def update(self, metadata):
        """Read the README, and mend its links."""
        root = Path(self.root)
        mend = runpy.run_path(str(root / "tools" / "pypi_readme.py"))["mended"]
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": mend(text, metadata["version"])}
