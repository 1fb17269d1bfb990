"""The documents build without a warning, offline, and load nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import REPOSITORY


@pytest.mark.slow
def test_the_pages_build_strictly(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed (extra: docs)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    pages = list(tmp_path.glob("*.html"))
    assert len(pages) >= len(list((REPOSITORY / "docs").glob("*.md")))
    loaded = {
        address
        for page in pages
        for address in re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text())
    }
    assert not loaded


def test_every_page_is_in_the_menu() -> None:
    menu = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (REPOSITORY / "docs").glob("*.md"))
    assert len(pages) > 10
    assert not [name for name in pages if f": {name}" not in menu]
