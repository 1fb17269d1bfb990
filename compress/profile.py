"""What the calibration images tell about a network, as arrays: moments, Fisher information, zeros, ranges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.device import CPU, placed
from compress.observers import BackwardPass, ForwardPass, GradientNotes, LayerNotes, TensorNotes
from compress.quantize import (
    DEFAULT_ACTIVATIONS,
    ActivationQuantiser,
    ActivationRange,
    activation_range,
    expected_error,
    histogram,
)
from networks.trace import TracedNetwork
from plan.errors import FileFormatError, InvalidValueError

ACTIVATION_BITS = (2, 3, 4, 5, 6, 7, 8, 16)
PROFILE_VERSION = 2

FloatArray = NDArray[np.float32]
Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total)."""


@dataclass(frozen=True)
class LayerProfile:
    """One layer's weights and the metric in which their errors count. D = (C / groups) * R * S.

    weight: float32 (K, D), columns in (channel, r, s) order
    moment: float32 (groups, D, D), E[x x^T] of the unfolded inputs and `coherence` times the covariance of their mean
        over an image's positions; a tuple of blocks covering D where D > 4,608
    input_mean: float32 (groups, D)
    fisher: float32 (K,), sum over output positions of E[(dLoss/dy_k)^2]
    activation_error: float64 (bits,), expected loss increase from rounding the input tensor at each width, zero for
        all but the first layer that reads the tensor
    """

    weight: FloatArray
    moment: FloatArray | tuple[FloatArray, ...]
    input_mean: FloatArray
    fisher: FloatArray
    activation_error: NDArray[np.float64]
    coherence: float = 0.0

    @property
    def moment_blocks(self) -> tuple[FloatArray, ...]:
        """The moments as blocks, one of them where D is up to 4,608."""
        return self.moment if isinstance(self.moment, tuple) else (self.moment,)


@dataclass(frozen=True)
class Profile:
    """Measurements of one network on one calibration set.

    zero_in, zero_out: float64 (L,), fractions of exact zeros in the tensor read and the tensor written
    activation_ranges: tensor name -> float64 (bits, 2), scale and zero point of each width in `activation_bits`
    calibration_sha256: hash of the calibration images
    """

    layers: tuple[LayerProfile, ...]
    zero_in: NDArray[np.float64]
    zero_out: NDArray[np.float64]
    activation_ranges: dict[str, NDArray[np.float64]]
    calibration_sha256: str
    activation_bits: tuple[int, ...] = ACTIVATION_BITS

    def range_of(self, tensor: str, bits: int) -> ActivationRange:
        """Returns how the tensor is rounded at that width.

        Raises:
            InvalidValueError: a width that was not profiled.
        """
        if bits not in self.activation_bits:
            raise InvalidValueError(f"activation bits {bits} were not profiled (allowed: {self.activation_bits})")
        scale, zero_point = self.activation_ranges[tensor][self.activation_bits.index(bits)]
        return ActivationRange(bits, float(scale), int(zero_point))


def images_sha256(images: Tensor) -> str:
    """Returns the hash of an image tensor's shape and bytes."""
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    digest.update(images.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _silent(phase: str, done: int, total: int) -> None:
    """Ignores progress."""


def profile(
    traced: TracedNetwork,
    calibration_images: Tensor,
    *,
    seed: int = 0,
    activations: ActivationQuantiser = DEFAULT_ACTIVATIONS,
    progress: Progress = _silent,
    device: torch.device = CPU,
) -> Profile:
    """Runs the network on the calibration images, forward and backward, and returns what was measured.

    Args:
        traced: the network
        calibration_images: (N, 3, H, W) float32, normalised
        seed: draws sampled positions and the labels for the Fisher information
        activations: how the levels of stored tensors are placed
        progress: told about every batch
        device: where the network runs; what is drawn does not depend on it
    """
    if calibration_images.dim() != 4 or calibration_images.shape[0] == 0:
        raise InvalidValueError(f"calibration images have shape {tuple(calibration_images.shape)}, (N, 3, H, W) needed")
    traced = placed(traced, device)
    layers, tensors = ForwardPass(traced, seed).run(calibration_images, progress)
    backward = BackwardPass(traced, seed).run(calibration_images, progress)
    network = traced.network
    rounding = {
        name: _rounding(notes, backward.tensors[name], backward.images, activations) for name, notes in tensors.items()
    }
    readers = {layer.input_tensor: index for index, layer in reversed(list(enumerate(network.layers)))}
    entries = []
    for index, (layer, seen) in enumerate(zip(network.layers, layers, strict=True)):
        first = readers[layer.input_tensor] == index
        error = rounding[layer.input_tensor].error if first else np.zeros(len(ACTIVATION_BITS))
        entries.append(_layer_profile(seen, backward.fisher[index], backward.coherence[index], error))
    return Profile(
        layers=tuple(entries),
        zero_in=np.array([tensors[layer.input_tensor].zero_fraction for layer in network.layers]),
        zero_out=np.array([_zeros(tensors, layer.output_tensor) for layer in network.layers]),
        activation_ranges={name: found.ranges for name, found in rounding.items()},
        calibration_sha256=images_sha256(calibration_images),
    )


@dataclass(frozen=True)
class _Rounding:
    """ranges: float64 (bits, 2), scale and zero point; error: float64 (bits,), expected loss increase per image."""

    ranges: NDArray[np.float64]
    error: NDArray[np.float64]


def _rounding(values: TensorNotes, gradients: GradientNotes, images: int, quantiser: ActivationQuantiser) -> _Rounding:
    """Returns ranges by plain squared error, and what they cost with every value's squared gradient.

    Ranges chosen by the cost itself were no better on ResNet-20 and lean on few images.
    """
    limits = (values.low, values.high)
    sample = values.sample()
    plain = histogram(sample, np.ones_like(sample), limits=limits)
    weighted = histogram(*gradients.sample(), limits=limits)
    found = [activation_range(plain, bits, quantiser) for bits in ACTIVATION_BITS]
    scale = 0.5 * gradients.sum_of_squares(images)
    return _Rounding(
        np.array([(chosen.scale, chosen.zero_point) for chosen in found]),
        np.array([scale * expected_error(weighted, chosen) for chosen in found]),
    )


def _zeros(tensors: dict[str, TensorNotes], name: str | None) -> float:
    return tensors[name].zero_fraction if name is not None and name in tensors else 0.0


def _layer_profile(notes: LayerNotes, fisher: FloatArray, coherence: float, error: NDArray[np.float64]) -> LayerProfile:
    weight = notes.sums.module.weight.detach()
    return LayerProfile(
        weight=np.ascontiguousarray(weight.reshape(weight.shape[0], -1).cpu().numpy()),
        moment=notes.sums.moments(coherence),
        input_mean=notes.sums.mean(),
        fisher=fisher,
        activation_error=error,
        coherence=coherence,
    )


def save_profile(found: Profile, path: Path) -> None:
    """Writes the profile as one .npz file without pickled members."""
    arrays: dict[str, NDArray[np.generic]] = {"zero_in": found.zero_in, "zero_out": found.zero_out}
    for i, layer in enumerate(found.layers):
        arrays[f"{i}.weight"], arrays[f"{i}.input_mean"] = layer.weight, layer.input_mean
        arrays[f"{i}.fisher"], arrays[f"{i}.activation_error"] = layer.fisher, layer.activation_error
        arrays[f"{i}.coherence"] = np.array(layer.coherence)
        for j, block in enumerate(layer.moment_blocks):
            arrays[f"{i}.moment.{j}"] = block
    tensors = list(found.activation_ranges)
    for j, name in enumerate(tensors):
        arrays[f"range.{j}"] = found.activation_ranges[name]
    header = {
        "version": PROFILE_VERSION,
        "layers": len(found.layers),
        "tensors": tensors,
        "calibration_sha256": found.calibration_sha256,
        "activation_bits": found.activation_bits,
    }
    arrays["header"] = np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_profile(path: Path) -> Profile:
    """Returns the profile that `save_profile` wrote.

    Raises:
        FileFormatError: not such a file, or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            if header["version"] != PROFILE_VERSION:
                raise FileFormatError(str(path), [f"profile version {header['version']}, {PROFILE_VERSION} is read"])
            return Profile(
                layers=tuple(_stored_layer(archive, i) for i in range(header["layers"])),
                zero_in=archive["zero_in"],
                zero_out=archive["zero_out"],
                activation_ranges={name: archive[f"range.{j}"] for j, name in enumerate(header["tensors"])},
                calibration_sha256=header["calibration_sha256"],
                activation_bits=tuple(header["activation_bits"]),
            )
    except (KeyError, ValueError, OSError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(str(path), [f"not a readable profile ({error})"]) from error


def _stored_layer(archive: np.lib.npyio.NpzFile, index: int) -> LayerProfile:
    weight = archive[f"{index}.weight"]
    count = sum(name.startswith(f"{index}.moment.") for name in archive.files)
    blocks = tuple(archive[f"{index}.moment.{j}"] for j in range(count))
    return LayerProfile(
        weight=weight,
        moment=blocks[0] if count == 1 else blocks,
        input_mean=archive[f"{index}.input_mean"],
        fisher=archive[f"{index}.fisher"],
        activation_error=archive[f"{index}.activation_error"],
        coherence=float(archive[f"{index}.coherence"]),
    )
