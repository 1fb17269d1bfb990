"""What several tests share: where optional reference data stand, and a reproducible hypothesis profile."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Returns the folder with reference data and weights, or skips the test where there is none."""
    folder = Path(os.environ.get("ESPALIER_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference data at {folder}; set ESPALIER_SHARED to its folder")
    return folder
