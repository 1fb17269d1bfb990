"""The accuracy of a plan, really measured: weights repaired, activations rounded, statistics re-estimated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compress.adaround import Samples, adarounded
from compress.apply import Compressed, LayerRecord
from compress.batches import batch_of, batch_on
from compress.device import CPU
from compress.eight_bits import integers_are_exact
from compress.fake_quant import FakeQuantiser
from compress.integers import IntegerInterpreter
from compress.layer_store import LayerStore
from compress.options import DEFAULT_OPTIONS, MeasureOptions
from compress.problem import Problem
from compress.profile import Profile
from compress.quantize import ActivationRange
from compress.recalibrate import Corrections, Recalibration, followed_by_norm
from compress.repair import RepairedLayer, Request
from compress.repaired_layers import RepairedLayers
from compress.resume import Resumption
from compress.sequential import PairedPass, Refit, can_refit
from compress.working import WorkingNetwork
from networks.trace import TracedNetwork
from plan.errors import InvalidValueError
from plan.scheme import DENSE, Scheme

SMALLEST_CALIBRATION_BATCH = 32
UNTOUCHED_BITS = 16
ADAROUND_BITS = 6
"""Widest weights whose rounding is optimised."""


class Measurer:
    """Measures plans of one network; everything that does not depend on the plan is done once.

    Args:
        traced: the dense network
        profile: its profile on the calibration images
        calibration_images: (N, 3, H, W) float32 normalised; the first 512 re-estimate statistics
        seed: of the Bernoulli rule's draws
        options: which repairs run
        store: repaired layers of other runs; a recomputation takes none
        device: where the network runs; repairs of single layers are computed on the processor
    """

    def __init__(
        self,
        traced: TracedNetwork,
        profile: Profile,
        calibration_images: Tensor,
        *,
        seed: int = 0,
        options: MeasureOptions = DEFAULT_OPTIONS,
        store: LayerStore | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.traced = traced
        self.device = device
        self.batch, self.together = batch_of(traced.network), batch_on(device, traced.network)
        self.profile = profile
        self.seed = seed
        self.options = options
        self.apart = RepairedLayers(traced.network, profile, seed=seed, options=options, store=store)
        self.channels = self.apart.channels
        in_place = not options.sequential_images  # the refit wants rectifiers where they stand
        self.working = WorkingNetwork(traced, calibration_images, device, in_place=in_place)
        self.module, self.quantisers, self.layers = self.working.module, self.working.quantisers, self.working.layers
        self.images = calibration_images[: options.calibration_images].to(device)
        self.recalibration = self._recalibration()
        self.integers = self._integers()
        self.resumption = self._resumption()
        nodes = {node.target: node.name for node in self.module.graph.nodes if node.op == "call_module"}
        self._rounding_nodes = [nodes[f"quantiser_{number}"] for number in range(len(self.quantisers))]
        self._loaded: tuple[Scheme, ...] = ()
        self._loaded_repairs: tuple[RepairedLayer, ...] = ()
        self._uncorrected: tuple[RepairedLayer, ...] = ()
        self._corrections: Corrections | None = None

    def _resumption(self) -> Resumption:
        work = zip(self.traced.layer_nodes, self.traced.network.layers, strict=True)
        macs = {node: float(layer.macs) for node, layer in work}
        interpreter = self.integers or fx.Interpreter(self.module)
        return Resumption(interpreter, macs, self.options.activation_cache_bytes)

    def _integers(self) -> IntegerInterpreter | None:
        if not (self.options.integers and self.device == CPU and integers_are_exact()):
            return None
        nodes = {node.name: node for node in self.module.graph.nodes}
        return IntegerInterpreter(self.module, [nodes[name] for name in self.traced.layer_nodes])

    def _recalibration(self) -> Recalibration:
        without = [
            layer
            for layer, node in zip(self.layers, self.traced.layer_nodes, strict=True)
            if not followed_by_norm(self.traced.module, node)
        ]
        for layer in without:
            if layer.bias is None:
                zeros = torch.zeros(layer.weight.shape[0], device=self.device)
                layer.bias = nn.Parameter(zeros, requires_grad=False)
        norms = [module for module in self.module.modules() if isinstance(module, nn.BatchNorm2d)]
        found = Recalibration(norms, without, spread=self.spread)
        if self.options.recalibrate:
            found.observe(self._run_calibration)
        return found

    @property
    def spread(self) -> bool:
        """Whether the spread of outputs that no batch norm follows is corrected, by factors on their scales."""
        return self.options.spread and self.options.repair.quantiser.per_channel

    @property
    def _calibration_batches(self) -> int:
        """In how many parts, about equal, the calibration images pass; statistics are repaired per part."""
        return math.ceil(len(self.images) / max(self.batch, SMALLEST_CALIBRATION_BATCH))

    def _run_calibration(self) -> None:
        with torch.inference_mode():
            for batch in torch.chunk(self.images, self._calibration_batches):
                self.working.run(batch)

    def _resume_calibration(self) -> None:
        batches = torch.chunk(self.images, self._calibration_batches)
        start = self.resumption.start(self.images, len(batches))
        for number, batch in enumerate(batches):
            self.resumption.run(self.images, number, self.working.arranged(batch), start)

    def repaired(self, schemes: Sequence[Scheme]) -> tuple[RepairedLayer, ...]:
        """Returns every layer's weights under a plan, as they are loaded."""
        self.load(schemes)
        return self._loaded_repairs

    def cached_repairs(self, schemes: Sequence[Scheme]) -> tuple[RepairedLayer, ...]:
        """Returns every layer's weights under a plan as they are before anything that depends on the whole plan."""
        self._check(schemes)
        return self.apart.of_plan(schemes)

    def _check(self, schemes: Sequence[Scheme]) -> None:
        if len(schemes) != len(self.layers):
            raise InvalidValueError(f"{len(schemes)} schemes were given, the network has {len(self.layers)} layers")

    def load(self, schemes: Sequence[Scheme]) -> None:
        """Turns the working network into the compressed one; nothing is done when it already is."""
        if tuple(schemes) == self._loaded:
            return
        before, self._loaded = self._loaded, ()
        ranges = {tensor: quantiser.chosen for tensor, quantiser in self.quantisers.items()}
        repaired = self.cached_repairs(schemes)
        for index, found in enumerate(repaired):
            self.working.write(index, found.weight)
        self._set_ranges(schemes)
        with torch.inference_mode():
            self.recalibration.restore()
        if self.options.sequential_images and self.options.repair.update:
            with torch.no_grad():  # not inference mode, whose tensors cannot take part in the descent on roundings
                repaired = self._refit_in_order(schemes, repaired)
        self.resumption.forget_from(self._first_change(repaired, ranges) if before else 0)
        self._loaded_repairs = repaired
        self._take_levels()
        if self.options.recalibrate:
            self._corrections = self.recalibration.repair(self._resume_calibration, self._corrections)
            self._loaded_repairs = self._multiplied(repaired, self._corrections)
            self._take_levels()
        self._loaded, self._uncorrected = tuple(schemes), repaired

    def _take_levels(self) -> None:
        """Hands the levels that are loaded to what runs them."""
        if self.integers is not None:
            self.integers.take(self._loaded_repairs)

    def _first_change(self, repaired: tuple[RepairedLayer, ...], ranges: dict[str, ActivationRange | None]) -> int:
        """Returns the place of the first layer or rounding that differs from the repairs and ranges before."""
        places = [
            self.resumption.place(node)
            for node, new, old in zip(self.traced.layer_nodes, repaired, self._uncorrected, strict=True)
            if not _same_weights(new, old)
        ]
        places += [
            self.resumption.place(node)
            for node, (tensor, quantiser) in zip(self._rounding_nodes, self.quantisers.items(), strict=True)
            if quantiser.chosen != ranges[tensor]
        ]
        return min(places, default=self.resumption.end)

    def _multiplied(self, repaired: tuple[RepairedLayer, ...], corrections: Corrections) -> tuple[RepairedLayer, ...]:
        """Returns the repairs, scales multiplied where no batch norm follows; changes the working network likewise."""
        found = list(repaired)
        index_of = {id(layer): index for index, layer in enumerate(self.layers)}
        for layer, outputs in zip(self.recalibration.layers, corrections.layers, strict=True):
            index = index_of[id(layer)]
            found[index] = replace(found[index], scale=found[index].scale * outputs.gain.cpu().numpy())
            self.working.write(index, found[index].weight)
        return tuple(found)

    def _refit_in_order(
        self, schemes: Sequence[Scheme], repaired: tuple[RepairedLayer, ...]
    ) -> tuple[RepairedLayer, ...]:
        """Returns the repairs refitted to the inputs that every layer really has, the working network with them."""
        refitted, kept = list(repaired), self.channels.kept(schemes)
        targets = self.traced.layer_targets
        unnormed = {id(layer) for layer in self.recalibration.layers}
        paired = PairedPass(
            self.module,
            dict(zip(targets, self.working.dense_weights, strict=True)),
            {
                target: self._refit(index, kept[index].inputs, refitted)
                for index, target in enumerate(targets)
                if can_refit(self.layers[index])
            },
            unnormed={target for target, layer in zip(targets, self.layers, strict=True) if id(layer) in unnormed},
            spread=self.spread,
            seed=self.seed,
        )
        images = self.working.arranged(self.images[: self.options.sequential_images])
        paired.run(torch.cat((images, images)))
        return tuple(refitted)

    def _refit(self, index: int, inputs: NDArray[np.bool_], refitted: list[RepairedLayer]) -> Refit:
        """Returns how a layer that keeps some inputs, bool (C,), is refitted; the result goes into the list."""
        steps, repair = self.options.rounding_steps, self.apart.repairs[index]

        def solve(problem: Problem, samples: Samples | None) -> Tensor:
            found, weight = repair.refit(problem.on(CPU), refitted[index])
            if samples is not None:
                found = adarounded(weight, found, samples, steps=steps, seed=self.seed + index)
            refitted[index] = found
            return torch.from_numpy(found.weight)

        sampled = steps > 0 and refitted[index].bits <= ADAROUND_BITS
        target, kept = repair.target(inputs).to(self.device), torch.from_numpy(inputs).to(self.device)
        return Refit(target, kept, solve, repair.stats.coherence, sampled)

    def _set_ranges(self, schemes: Sequence[Scheme]) -> None:
        done: set[str] = set()
        for layer, scheme in zip(self.traced.network.layers, schemes, strict=True):
            if layer.input_tensor not in done:
                done.add(layer.input_tensor)
                chosen = self.profile.range_of(layer.input_tensor, scheme.activation_bits)
                self.quantisers[layer.input_tensor].chosen = chosen

    def unload(self) -> None:
        """Turns the working network back into the dense one, in float."""
        self._loaded = ()
        for index in range(len(self.layers)):
            self.working.write_dense(index)
        self.recalibration.restore()
        for quantiser in self.quantisers.values():
            quantiser.chosen = None

    def logits(self, images: Tensor) -> Tensor:
        """Returns the outputs of the working network as it is loaded, float32 (N, classes), on the processor."""
        with torch.inference_mode():
            return torch.cat([self.working.run(batch).cpu() for batch in torch.split(images, self.together)])

    def outputs(self, schemes: Sequence[Scheme], images: Tensor) -> NDArray[np.float32]:
        """Returns the compressed network's outputs, float32 (N, classes)."""
        return np.concatenate(list(self.batches(schemes, images)))

    def batches(self, schemes: Sequence[Scheme], images: Tensor) -> Iterator[NDArray[np.float32]]:
        """Yields the compressed network's outputs batch by batch, float32 (n, classes), run when asked for.

        Where more images run together than are in a batch, the batches are still the same.
        """
        self.load(schemes)
        for number, part in enumerate(torch.split(images, self.together)):
            found = self.resumption.run(images, number, self.working.arranged(part))
            logits: NDArray[np.float32] = found.cpu().numpy()
            for start in range(0, len(logits), self.batch):
                yield logits[start : start + self.batch]

    def correct(self, schemes: Sequence[Scheme], images: Tensor, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns whether the compressed network's first answer is right, bool (N,)."""
        right: NDArray[np.bool_] = self.outputs(schemes, images).argmax(1) == labels
        return right

    def dense_outputs(self, images: Tensor) -> NDArray[np.float32]:
        """Returns the uncompressed network's outputs, float32 (N, classes)."""
        self.unload()
        logits: NDArray[np.float32] = self.logits(images).numpy()
        return logits

    def dense_correct(self, images: Tensor, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns whether the uncompressed network's first answer is right, bool (N,)."""
        right: NDArray[np.bool_] = self.dense_outputs(images).argmax(1) == labels
        return right

    @contextmanager
    def one_loaded(self, layer: int, scheme: Scheme) -> Iterator[tuple[int, ...]]:
        """Holds the weights of one layer, and of what its group loses, compressed; the rest is the dense network.

        Yields the indices of the changed layers. Statistics and activations are left alone.
        """
        if self._loaded:
            self.unload()
        changed = self._with_one(layer, scheme)
        try:
            for index, (request, found) in changed.items():
                self.working.write(index, np.where(request.kept.outputs[:, None], found.weight, np.float32(0)))
            yield tuple(changed)
        finally:
            for index in changed:
                self.working.write_dense(index)

    @contextmanager
    def one_rounded(self, layer: int, bits: int) -> Iterator[FakeQuantiser]:
        """Holds the input tensor of one layer rounded to so many bits; the rest is the dense network.

        Yields what rounds the tensor.
        """
        if self._loaded:
            self.unload()
        tensor = self.traced.network.layers[layer].input_tensor
        quantiser = self.quantisers[tensor]
        quantiser.chosen = self.profile.range_of(tensor, bits)
        try:
            yield quantiser
        finally:
            quantiser.chosen = None

    def layer_error(self, layer: int, scheme: Scheme) -> float:
        """Returns the expected loss increase of one layer's repaired weights, the rest of the network dense.

        A filter or channel scheme is also charged what every reader of the removed channels loses, at 16 bits there.
        """
        changed = self._with_one(layer, scheme).items()
        return sum(self.apart.repairs[index].error(found, request.kept.outputs) for index, (request, found) in changed)

    def _with_one(self, layer: int, scheme: Scheme) -> dict[int, tuple[Request, RepairedLayer]]:
        """Returns the repaired layer, and the members of its group that lose channels, at 16 bits, by layer index."""
        schemes = [Scheme(DENSE, 1.0, UNTOUCHED_BITS, UNTOUCHED_BITS) for _ in self.layers]
        schemes[layer] = scheme
        requests = self.apart.requests(schemes)
        lost = (i for i, asked in enumerate(requests) if not (asked.kept.inputs.all() and asked.kept.outputs.all()))
        return {index: (requests[index], self.apart.of(index, requests[index])) for index in sorted({layer, *lost})}

    def apply(self, schemes: Sequence[Scheme]) -> Compressed:
        """Returns the compressed network: masked, weights and activations on their levels, statistics repaired.

        It is on the processor.
        """
        self.load(schemes)
        kept = self.channels.kept(schemes)
        return Compressed(
            traced=self.traced,
            module=self.working.exported(),
            group_masks=self.channels.group_masks(schemes),
            records=tuple(
                LayerRecord.of(layer, target, scheme=scheme, kept=left, repaired=found)
                for layer, target, scheme, left, found in zip(
                    self.traced.network.layers,
                    self.traced.layer_targets,
                    schemes,
                    kept,
                    self.repaired(schemes),
                    strict=True,
                )
            ),
        )


def _same_weights(one: RepairedLayer, other: RepairedLayer) -> bool:
    """Returns whether two repairs of a layer give the same weights."""
    if one is other:
        return True
    return np.array_equal(one.levels, other.levels) and np.array_equal(one.scale, other.scale)
