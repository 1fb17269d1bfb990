"""The documentation names every flag, every field and every command that there is."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from agent.config import Settings, flag_name

REPOSITORY = Path(__file__).resolve().parent.parent


def test_every_flag_is_documented() -> None:
    text = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    assert not [item.name for item in dataclasses.fields(Settings) if f"`{flag_name(item.name)}`" not in text]


def fields(schema: object) -> set[str]:
    """Returns the names of all properties in a schema."""
    if isinstance(schema, list):
        return {name for inner in schema for name in fields(inner)}
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own | {name for inner in schema.values() for name in fields(inner)}


def test_every_field_is_documented() -> None:
    text = (REPOSITORY / "docs" / "plan_schema.md").read_text(encoding="utf-8")
    schema = json.loads((REPOSITORY / "plan" / "plan_schema.json").read_text(encoding="utf-8"))
    assert not [name for name in fields(schema) if not re.search(rf"\b{name}`", text)]


@pytest.mark.parametrize("document", ["README.md", "docs/commands.md"])
def test_commands_in_the_documents_exist(document: str) -> None:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m ([a-z_.]+)", text))
    assert modules
    assert not [name for name in modules if not (REPOSITORY / (name.replace(".", "/") + ".py")).is_file()]


def test_readme_fits_a_screen() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 50
