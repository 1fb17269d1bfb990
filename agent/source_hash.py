"""A hash of the code that cached results follow from, so that a change of it makes them again."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

BEHIND_PROFILES = ("plan", "networks", "compress")
BEHIND_TABLES = (*BEHIND_PROFILES, "envs")


@cache
def source_sha256(packages: tuple[str, ...]) -> str:
    """Returns SHA-256 over all Python files of the packages, by name and content."""
    digest = hashlib.sha256()
    for package in packages:
        spec = find_spec(package)
        for folder in sorted(spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{file.relative_to(folder).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()
