"""A hash of the code that cached results follow from, so that a change of it makes them again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

BEHIND_PROFILES = ("plan", "networks", "compress")
BEHIND_TABLES = (*BEHIND_PROFILES, "envs", "agent.build", "agent.proxies")


@cache
def source_sha256(names: tuple[str, ...]) -> str:
    """Returns SHA-256 over all Python files of packages and modules, by name and content."""
    digest = hashlib.sha256()
    for name in names:
        for place, file in _files(name):
            digest.update(f"{place}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _files(name: str) -> Iterator[tuple[str, Path]]:
    """Yields the Python files of a package, or a module's, in order, with names that hold on any machine."""
    spec = find_spec(name)
    if spec is None:
        return
    if spec.submodule_search_locations is None and spec.origin is not None:
        yield name, Path(spec.origin)
    for folder in sorted(spec.submodule_search_locations or ()):
        for file in sorted(Path(folder).rglob("*.py")):
            yield f"{name}/{file.relative_to(folder).as_posix()}", file
