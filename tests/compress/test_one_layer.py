"""Losses of single layers and tensors: graded, equal to a plain run of the whole network, without a trace."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from compress.measure import Measurer
from compress.one_layer import OneLayerLoss
from compress.prefix import Prefix
from compress.recalibrate import Recalibration
from networks.trace import TracedNetwork
from plan.scheme import DENSE, Element, Filter, Method, Scheme

WIDE = 16


def test_one_layer_costs_more_the_harder_it_is_compressed(measurer: Measurer, images: Tensor) -> None:
    loss = OneLayerLoss(measurer, images)
    untouched = loss.weights(1, Scheme(DENSE, 1.0, WIDE, WIDE))
    gentle = loss.weights(1, Scheme(DENSE, 1.0, 4, WIDE))
    hard = loss.weights(1, Scheme(DENSE, 1.0, 2, WIDE))
    assert untouched == pytest.approx(0.0, abs=1e-6)
    assert untouched <= gentle < hard


def test_one_tensor_costs_more_at_fewer_bits(measurer: Measurer, images: Tensor) -> None:
    loss = OneLayerLoss(measurer, images)
    wide, narrow = loss.activations(1, 8), loss.activations(1, 2)
    assert 0 <= wide < narrow


def test_order_of_questions_changes_no_answer(measurer: Measurer, images: Tensor) -> None:
    loss = OneLayerLoss(measurer, images)
    scheme = Scheme(Method(Element(), "second-order"), 0.25, 8, WIDE)
    forward = [loss.weights(layer, scheme) for layer in (0, 1, 2)]
    assert [loss.weights(layer, scheme) for layer in (2, 1, 0)] == forward[::-1]


def test_loss_equals_a_run_of_the_whole_network(measurer: Measurer, traced: TracedNetwork, images: Tensor) -> None:
    scheme, batch = Scheme(Method(Element(), "second-order"), 0.25, 8, WIDE), images[-128:]
    found = OneLayerLoss(measurer, images).weights(1, scheme)
    whole = Recalibration(measurer.recalibration.norms, measurer.recalibration.layers)
    outputs: list[Tensor] = []

    def run() -> None:
        with torch.inference_mode():
            outputs.append(functional.log_softmax(measurer.module(batch).double(), dim=1))

    whole.observe(run)
    with measurer.one_loaded(1, scheme) as changed:
        assert changed == (1,)
        whole.correct(run)
    expected = functional.kl_div(outputs[1], outputs[0], reduction="batchmean", log_target=True)
    assert found == pytest.approx(float(expected), rel=1e-3)


def test_nothing_is_left_behind(measurer: Measurer, traced: TracedNetwork, images: Tensor) -> None:
    before = measurer.dense_outputs(images)
    loss = OneLayerLoss(measurer, images)
    loss.weights(0, Scheme(Method(Filter(), "second-order"), 0.5, 4, WIDE))
    loss.activations(2, 3)
    with torch.inference_mode():
        assert np.array_equal(measurer.logits(images).numpy(), before)


def test_prefix_gives_the_networks_outputs_from_every_place(measurer: Measurer, images: Tensor) -> None:
    measurer.unload()
    prefix, batch = Prefix(measurer.module, images[:8]), images[:8]
    with torch.inference_mode():
        expected = measurer.module(batch)
    for place in (0, 3, len(list(measurer.module.graph.nodes)) - 2, 1):
        prefix.advance(place)
        for _ in range(2):
            assert torch.equal(prefix.outputs(), expected)
