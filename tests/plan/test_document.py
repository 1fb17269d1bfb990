"""plan.json: old versions load, faults are named, and the same plan is the same bytes."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan import document as plan_document
from plan.document import Document, dumps, load, problems_of, save, scheme_from_json, scheme_to_json, schemes_of
from plan.errors import FileFormatError, MissingFileError, UnwritableError
from plan.scheme import BlockPunched, Method, NofM, Scheme

OLD_PLANS = Path(__file__).resolve().parent.parent / "old_plans"


@pytest.fixture
def document() -> Document:
    return load(OLD_PLANS / "v1.json")


def edited(document: Document, path: tuple[Any, ...], value: object) -> Document:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("file", sorted(OLD_PLANS.glob("*.json")), ids=lambda file: file.stem)
def test_every_version_ever_written_loads(file: Path) -> None:
    assert load(file)["version"] == plan_document.VERSION


def test_plan_to_json_to_plan_is_identical(document: Document, tmp_path: Path) -> None:
    save(document, tmp_path / "plan.json")
    assert load(tmp_path / "plan.json") == document
    assert (tmp_path / "plan.json").read_text() == dumps(document)
    assert list(tmp_path.iterdir()) == [tmp_path / "plan.json"]


def test_order_of_keys_does_not_change_bytes(document: Document) -> None:
    assert dumps(dict(reversed(document.items()))) == dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("layers", 0, "density"), 1.7, "layers[0].density is 1.7 (allowed: above 0 to 1)"),
        (("layers", 1, "weight_bits"), 0, "layers[1].weight_bits is 0 (allowed: from 1 to 32)"),
        (("layers", 1, "weight_bits"), 4.5, "layers[1].weight_bits is 4.5 (allowed: integer)"),
        (("layers", 1, "weight_bits"), True, "layers[1].weight_bits is true (allowed: integer)"),
        (("layers", 0, "granularity", "type"), "blok", 'layers[0].granularity.type is "blok" (allowed: dense, element'),
        (("layers", 0, "granularity", "rows"), 3, "layers[0].granularity: granularity block-punched takes"),
        (("layers", 1, "algorithm"), "l1", "layers[1].algorithm is l1 (allowed with this granularity: none)"),
        (("layers", 1, "density"), 0.5, "layers[1].density is 0.5 (allowed with dense: 1.0)"),
        (("layers", 1, "name"), "conv", "layers: 'conv' occurs twice"),
        (("network", "edges"), [[0, 7]], "network.edges names layer 7 (allowed: 0 to 1)"),
        (("network", "fingerprint"), "xyz", 'network.fingerprint is "xyz" (allowed: 64 hexadecimal digits)'),
        (("hardware", "energy_view"), "watts", "(allowed: normalised, joules)"),
        (("accuracy", "test", "accuracy"), 187.0, "accuracy.test.accuracy is 187.0 (allowed: from 0 to 100)"),
        (("totals", "energy_uj"), -1.0, "totals.energy_uj is -1.0 (allowed: from 0)"),
        (("totals", "energi_uj"), 1.0, "totals: 'energi_uj' is unknown; did you mean 'energy_uj'?"),
        (("layers",), [], "layers is []"),
        (("schema",), "other", 'schema is "other" (allowed: espalier.plan)'),
    ],
)
def test_a_fault_is_named(document: Document, path: tuple[Any, ...], value: object, told: str) -> None:
    problems = problems_of(edited(document, path, value))
    assert any(told in problem for problem in problems), problems


def test_all_faults_are_listed(document: Document) -> None:
    broken = edited(edited(document, ("layers", 0, "density"), 1.7), ("layers", 1, "weight_bits"), 0)
    del broken["totals"]
    with pytest.raises(FileFormatError) as caught:
        dumps(broken)
    assert len(caught.value.problems) == 3
    assert "the plan: 'totals' is missing" in caught.value.problems


def test_not_a_number_is_never_written(document: Document) -> None:
    with pytest.raises(FileFormatError, match=r"totals\.energy_uj is nan"):
        dumps(edited(document, ("totals", "energy_uj"), float("nan")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not JSON"),
        ('{"schema": "espalier.plan", "ver', "is not JSON: "),
        ("[]", "not a JSON object"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": 1, "a": 2}', "field a occurs twice"),
        ('{"version": 99}', "version is 99 (allowed: 1, 2)"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(FileFormatError) as caught:
        load(tmp_path / "plan.json")
    assert told in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="is not text"):
        load(tmp_path / "plan.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nothing\.json"):
        load(tmp_path / "nothing.json")


def test_a_failed_write_leaves_the_old_file(document: Document, tmp_path: Path) -> None:
    save(document, tmp_path / "plan.json")
    before = (tmp_path / "plan.json").read_bytes()
    with pytest.raises(FileFormatError):
        save(edited(document, ("version",), 7), tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_bytes() == before
    with pytest.raises(UnwritableError, match="cannot write"):
        save(document, tmp_path / "no folder" / "plan.json")


def test_an_older_version_is_migrated(document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(old: Document) -> Document:
        rest = {name: value for name, value in old.items() if name != "goal"}
        return {**rest, "version": plan_document.VERSION, "objective": old["goal"]}

    monkeypatch.setitem(plan_document.MIGRATIONS, 0, renamed)
    old = {**document, "version": 0, "goal": document["objective"]}
    del old["objective"]
    (tmp_path / "plan.json").write_text(json.dumps(old))
    assert load(tmp_path / "plan.json") == document


def test_version_1_called_level_l1(tmp_path: Path) -> None:
    old = json.loads((OLD_PLANS / "v1.json").read_text())
    old["layers"][1] |= {"granularity": {"type": "element"}, "algorithm": "l1", "density": 0.5}
    (tmp_path / "plan.json").write_text(json.dumps(old))
    migrated = load(tmp_path / "plan.json")
    assert migrated["layers"][1]["algorithm"] == "level"
    assert migrated["layers"][0]["algorithm"] == old["layers"][0]["algorithm"]


def test_a_pattern_has_only_its_own_density_and_algorithms(document: Document) -> None:
    pattern = edited(document, ("layers", 1, "granularity"), {"type": "pattern", "keep": 4})
    pattern = edited(edited(pattern, ("layers", 1, "algorithm"), "l2"), ("layers", 1, "density"), 4 / 9)
    assert problems_of(pattern) == []
    assert "layers[1].density is 0.5" in problems_of(edited(pattern, ("layers", 1, "density"), 0.5))[0]
    assert "l2, second-order" in problems_of(edited(pattern, ("layers", 1, "algorithm"), "l1"))[0]
    odd = edited(pattern, ("layers", 1, "granularity"), {"type": "pattern", "keep": 6})
    assert "pattern keeps 6 of 9 positions (allowed: 4, 5)" in problems_of(odd)[0]


def test_schemes_of_a_plan(document: Document) -> None:
    first, second = schemes_of(document)
    assert first == Scheme(Method(BlockPunched(4, 1), "second-order"), 0.5, 4, 8)
    assert (second.method.algorithm, second.density, second.weight_bits, second.activation_bits) == ("none", 1.0, 6, 4)


@given(st.integers(1, 32), st.integers(2, 8), st.integers(2, 8), st.sampled_from(["l1", "second-order"]))
def test_scheme_survives_json(density: int, weight_bits: int, activation_bits: int, rule: str) -> None:
    scheme = Scheme(Method(NofM(2, 4), rule), density / 32, weight_bits, activation_bits)
    assert scheme_from_json(json.loads(json.dumps(scheme_to_json(scheme)))) == scheme


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] if not items else [leaf for name, inner in items for leaf in leaves(inner, (*path, name))]


@given(st.data())
def test_a_random_edit_is_accepted_or_described(data: st.DataObject) -> None:
    document = load(OLD_PLANS / "v1.json")
    path = data.draw(st.sampled_from(leaves(document)))
    value = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.none())
    )
    problems = problems_of(edited(document, path, value))
    assert all(isinstance(problem, str) and problem for problem in problems)
    if not problems:
        assert load_text(dumps(edited(document, path, value)))


def load_text(text: str) -> Document:
    content: Document = json.loads(text)
    return content
