"""Runs that begin where the network last differs give what whole runs give, to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.measure import Measurer
from compress.options import DEFAULT_OPTIONS, MeasureOptions
from compress.profile import Profile
from networks.trace import TracedNetwork
from plan.scheme import DENSE, Element, Method, Scheme

MILD, NARROW = Scheme(DENSE, 1.0, 8, 8), Scheme(Method(Element(), "second-order"), 0.5, 3, 4)


def changed(traced: TracedNetwork, *layers: int) -> tuple[Scheme, ...]:
    return tuple(NARROW if index in layers else MILD for index in range(len(traced.network.layers)))


@pytest.mark.parametrize("options", [DEFAULT_OPTIONS, replace(DEFAULT_OPTIONS, sequential_images=16)])
def test_resumed_runs_are_whole_runs(
    traced: TracedNetwork, profiled: Profile, images: Tensor, monkeypatch: pytest.MonkeyPatch, options: MeasureOptions
) -> None:
    monkeypatch.setattr("compress.batches.LARGEST_BATCH", 16)
    last = len(traced.network.layers) - 1
    resumed = Measurer(traced, profiled, images, options=options)
    whole = Measurer(traced, profiled, images, options=replace(options, activation_cache_bytes=0))
    plans = [(last,), (last - 1, last), (last - 1,), (), (0,), (0, last), (last // 2,), (last // 2, last)]
    for layers in plans:
        schemes = changed(traced, *layers)
        assert np.array_equal(resumed.outputs(schemes, images), whole.outputs(schemes, images)), layers
        if layers == (last - 1,):
            resumed.dense_outputs(images)
            resumed.layer_error(0, NARROW)
    assert resumed.resumption.nodes_run < whole.resumption.nodes_run
    assert whole.resumption.bytes == 0


def test_kept_values_keep_their_limit_and_go_with_their_images(
    traced: TracedNetwork, profiled: Profile, images: Tensor
) -> None:
    limit = 200_000
    measurer = Measurer(traced, profiled, images, options=replace(DEFAULT_OPTIONS, activation_cache_bytes=limit))
    schemes, last = changed(traced, 0), len(traced.network.layers) - 1
    measurer.outputs(schemes, images)
    assert 0 < measurer.resumption.bytes <= limit
    roomy = Measurer(traced, profiled, images)
    roomy.outputs(schemes, images)
    alone = roomy.resumption.bytes
    for number in range(3):
        roomy.outputs(changed(traced, number, last), torch.clone(images))
    assert roomy.resumption.bytes <= 2 * alone


def test_only_what_stands_behind_the_first_change_runs_again(
    traced: TracedNetwork, profiled: Profile, images: Tensor
) -> None:
    measurer, last = Measurer(traced, profiled, images), len(traced.network.layers) - 1
    counts = []
    for layers in ((), (0,), (last,)):
        measurer.outputs(changed(traced), images)
        before = measurer.resumption.nodes_run
        measurer.outputs(changed(traced, *layers), images)
        counts.append(measurer.resumption.nodes_run - before)
    assert counts[0] < counts[2] < counts[1]
