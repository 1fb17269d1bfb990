"""Classifiers of timm: traced with an independent count of their work, or refused with a reason."""

import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from networks.trace import trace
from networks.zoo import build, check_name
from plan.errors import UnknownNameError, UnsupportedNetworkError

pytest.importorskip("timm", reason="needs the extra `timm`")

TRACED = (
    "resnet18",
    "mobilenetv3_small_050",
    "efficientnet_lite0",
    "regnetx_002",
    "convnext_atto",
    "dla34",
    "ghostnet_100",
)
EXPORTED = ("tf_efficientnet_b0", "vgg11_bn")
"""Whose Python code branches on shapes, so that torch.export traces them."""


@pytest.mark.parametrize(
    "name", [TRACED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in TRACED[1:] + EXPORTED)]
)
def test_timm_networks_trace(name: str) -> None:
    source = build(f"timm:{name}", 10, (3, 64, 64))
    assert (source.origin, source.name, source.classes) == ("timm", f"timm-{name}", 10)
    result = trace(source.module, source.input_size, source.name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        source.module(torch.zeros(1, *source.input_size))
    assert result.network.macs == counter.get_total_flops() // 2
    weighted = {path for path, part in source.module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}
    assert set(result.layer_targets) <= weighted
    assert any(group.prunable for group in result.network.groups)
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in source.module.modules())
    assert sum(isinstance(part, nn.BatchNorm2d) for part in result.module.modules()) == norms
    images = torch.rand(2, *source.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(result.module(images), source.module(images), atol=1e-5)


def test_standardised_weights_are_refused() -> None:
    source = build("timm:resnetv2_50x1_bit", 10, (3, 64, 64))
    with pytest.raises(UnsupportedNetworkError, match="computes its weights"):
        trace(source.module, source.input_size, source.name)


def test_unknown_names_suggest_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean"):
        check_name("timm:resnett")


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'espalier\[timm\]'"):
        check_name("timm:resnet18")
