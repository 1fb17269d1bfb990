"""Ways to break a file: bytes that change, values that are not what belongs there, members that are missing."""

import copy
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from plan.errors import EspalierError

Edit = tuple[str, float, bytes]
edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(("cut", "insert", "replace", "truncate", "repeat")), st.floats(0, 1), st.binary(max_size=6)
    ),
    min_size=1,
    max_size=4,
)
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from((0, -1, 2**63, 1e308, float("nan"), float("inf"))))
values = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.text(max_size=12),
    st.sampled_from(("../../x", "/etc/passwd", "\x00", "a" * 5000, "None", "nan")),
    st.lists(numbers, max_size=3),
    st.dictionaries(st.text(max_size=4), numbers, max_size=2),
)


def edited(content: bytes, changes: list[Edit]) -> bytes:
    """Returns bytes after some changes, each at a place given as a fraction of the length."""
    for kind, place, new in changes:
        at = int(place * len(content))
        if kind == "cut":
            content = content[:at] + content[at + len(new) + 1 :]
        elif kind == "insert":
            content = content[:at] + new + content[at:]
        elif kind == "replace":
            content = content[:at] + new + content[at + len(new) :]
        elif kind == "repeat":
            content = content + content[at:]
        else:
            content = content[:at]
    return content


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every value in nested objects and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from leaves(inner, (*path, key))


def with_value(document: Any, path: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    """Returns a copy in which the value at a path is another, or gone."""
    made = copy.deepcopy(document)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return made


def zipped(members: dict[str, bytes]) -> bytes:
    """Returns a zip archive of the members, whatever their names are."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def image_bytes() -> bytes:
    """Returns a small black PNG."""
    target = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(target, "png")
    return target.getvalue()


def refused_or_read(read: Callable[[], object]) -> bool:
    """Returns whether the input was read; a refusal must be an `EspalierError` of one line with a text."""
    try:
        read()
    except EspalierError as error:
        told = str(error).strip()
    else:
        return True
    assert told
    return False


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Asserts that a folder holds the same names afterwards: nothing partial, nothing new."""
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    yield
    assert {path.relative_to(folder) for path in folder.rglob("*")} == before
