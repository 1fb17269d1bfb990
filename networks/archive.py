"""Image folders as directories or `.zip` files: which images they hold, in which part and class."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from plan.errors import FileFormatError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
PARTS = ("train", "val", "test")
CLASS_FILE = "classes.txt"
UNREADABLE = (
    *(OSError, EOFError, ValueError, LookupError, RuntimeError, OverflowError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)
"""What reading members of a broken archive raises."""


@dataclass(frozen=True)
class ImageTree:
    """The images of a folder or archive: per part, image names with the class folder of each ("" without classes)."""

    root: Path
    parts: dict[str, list[tuple[str, str]]]
    classes: tuple[str, ...]

    @property
    def labelled(self) -> bool:
        """Whether images lie in class folders."""
        return bool(self.classes)


def read_tree(root: Path) -> ImageTree:
    """Returns what lies in the directory or archive, without decoding any image.

    Images lie in `train/`, `val/` or `test/`, or directly in the root (part ""), there in class folders or flat.

    Raises:
        FileFormatError: no archive, names that climb out of the root, no images, classes that `classes.txt` lacks.
    """
    names, class_text = _list_archive(root) if root.is_file() else _list_folder(root)
    parts: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(names):
        folders = PurePosixPath(name).parts[:-1]
        part = folders[0] if folders and folders[0] in PARTS else ""
        below = folders[1:] if part else folders
        parts.setdefault(part, []).append((name, below[0] if below else ""))
    if set(parts) & set(PARTS):
        parts.pop("", None)
    tree = ImageTree(root, parts, _classes(root, parts, class_text))
    if not any(parts.values()):
        raise FileFormatError(str(root), [f"holds no images (looked for {', '.join(SUFFIXES)})"])
    return tree


def _list_archive(root: Path) -> tuple[list[str], bytes | None]:
    try:
        with zipfile.ZipFile(root) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            bad = [name for name in names if _climbs(name)]
            if bad:
                raise FileFormatError(str(root), [f"entry '{bad[0]}' climbs out of the archive; refused"])
            text = archive.read(CLASS_FILE) if CLASS_FILE in names else None
    except FileFormatError:
        raise
    except UNREADABLE as error:
        raise FileFormatError(str(root), [f"is not a readable .zip archive: {error}"]) from error
    return [name for name in names if _is_image(name)], text


def _climbs(name: str) -> bool:
    plain = name.replace("\\", "/")
    return plain.startswith("/") or ".." in plain.split("/") or ":" in plain.split("/")[0]


def _list_folder(root: Path) -> tuple[list[str], bytes | None]:
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if _is_image(path.name) and path.is_file()]
    file = root / CLASS_FILE
    return names, file.read_bytes() if file.is_file() else None


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


def _classes(root: Path, parts: dict[str, list[tuple[str, str]]], class_text: bytes | None) -> tuple[str, ...]:
    """Returns class names in label order: those of `classes.txt`, else the folders sorted; empty without folders."""
    folders = sorted({folder for images in parts.values() for _, folder in images})
    if folders in ([], [""]):
        return ()
    if "" in folders:
        raise FileFormatError(str(root), ["some images lie in class folders and some do not; sort them into classes"])
    if class_text is None:
        return tuple(folders)
    try:
        listed = tuple(line.strip() for line in class_text.decode().splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise FileFormatError(str(root), [f"{CLASS_FILE} is not UTF-8 text"]) from error
    missing = [folder for folder in folders if folder not in set(listed)]
    if missing or len(set(listed)) != len(listed):
        problem = f"lacks the class folder '{missing[0]}'" if missing else "lists a class twice"
        raise FileFormatError(str(root), [f"{CLASS_FILE} {problem}"])
    return listed
