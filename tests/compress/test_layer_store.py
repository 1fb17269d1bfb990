"""Repaired layers on disk: the same bytes as computed ones, never more than the limit, and no trust in broken files."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from compress.layer_store import LayerStore, profile_sha256
from compress.measure import Measurer
from compress.profile import Profile
from compress.repair import LayerRepair
from networks.trace import TracedNetwork
from plan.scheme import Element, Method, Scheme

SCHEMES = [Scheme(Method(Element(), "second-order"), 0.5, 4, 8)] * 5


def test_a_second_run_reads_what_the_first_computed(
    traced: TracedNetwork, profiled: Profile, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LayerStore(tmp_path / "layers", profile_sha256(profiled))
    first = Measurer(traced, profiled, images, store=store).outputs(SCHEMES, images)
    assert len(list((tmp_path / "layers").glob("*.npz"))) == 5
    assert np.array_equal(Measurer(traced, profiled, images).outputs(SCHEMES, images), first)

    def refuse(*_: object) -> None:
        raise AssertionError("a stored layer was computed again")

    monkeypatch.setattr(LayerRepair, "repair", refuse)
    assert np.array_equal(Measurer(traced, profiled, images, store=store).outputs(SCHEMES, images), first)
    with pytest.raises(AssertionError):
        Measurer(traced, profiled, images, store=store).outputs([replace(SCHEMES[0], weight_bits=5)] * 5, images)
    other = LayerStore(tmp_path / "layers", "another context")
    with pytest.raises(AssertionError):
        Measurer(traced, profiled, images, store=other).outputs(SCHEMES, images)


def test_other_weights_or_images_have_another_context(profiled: Profile) -> None:
    layers = (replace(profiled.layers[0], weight=profiled.layers[0].weight + 1), *profiled.layers[1:])
    contexts = {
        profile_sha256(found)
        for found in (profiled, replace(profiled, layers=layers), replace(profiled, calibration_sha256="other"))
    }
    assert len(contexts) == 3


def test_the_least_recently_used_go_first(
    traced: TracedNetwork, profiled: Profile, images: Tensor, tmp_path: Path
) -> None:
    store = LayerStore(tmp_path, "context")
    Measurer(traced, profiled, images, store=store).load(SCHEMES)
    files = sorted(tmp_path.glob("*.npz"))
    for age, file in enumerate(files):
        os.utime(file, (1000 + age, 1000 + age))
    store.limit_bytes = sum(file.stat().st_size for file in files[2:])
    store.shrink()
    assert sorted(tmp_path.glob("*.npz")) == files[2:]


def test_a_broken_file_is_computed_again(
    traced: TracedNetwork, profiled: Profile, images: Tensor, tmp_path: Path
) -> None:
    store = LayerStore(tmp_path, "context")
    first = Measurer(traced, profiled, images, store=store).outputs(SCHEMES, images)
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    assert np.array_equal(Measurer(traced, profiled, images, store=store).outputs(SCHEMES, images), first)


def test_an_unwritable_folder_only_costs_time(
    traced: TracedNetwork, profiled: Profile, images: Tensor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    store = LayerStore(tmp_path / "file" / "layers", "context")
    assert Measurer(traced, profiled, images, store=store).outputs(SCHEMES, images).shape == (len(images), 5)
