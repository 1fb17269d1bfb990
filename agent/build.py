"""Where a network, its data, an accelerator and the environment are joined."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from agent.plan_sources import Sources
from agent.source_hash import BEHIND_PROFILES, source_sha256
from compress.device import CPU
from compress.equalise import equalised
from compress.layer_store import LayerStore, profile_sha256
from compress.measure import Measurer
from compress.options import DEFAULT_OPTIONS, MeasureOptions
from compress.problem import metric_blocks
from compress.profile import Profile, images_sha256, load_profile, profile, save_profile
from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.accuracy.saliency import LayerStatistics
from envs.problem import Objective, Problem
from hwmodels.accelerator import Accelerator
from networks import weights, zoo
from networks.data import Dataset, open_data
from networks.images import Images
from networks.trace import TracedNetwork, trace
from networks.train import Progress as TrainingProgress
from plan.atomic import CACHE_ADVICE, replacing
from plan.errors import EspalierError
from plan.layer import Network
from plan.restrictions import NO_RESTRICTIONS, Restrictions
from plan.space import Space, build_space

PROFILE_SEED = 0
"""The profile is cached and shared by runs, so it has a seed of its own."""
UNREPAIRED_IMAGES = 128
"""Validation images on which single layers' losses are measured."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Terms:
    """What else shapes the space: the sources' names, the baseline's width, what may be touched, and repairs."""

    sources: Sources
    baseline_bits: int
    restrictions: Restrictions = NO_RESTRICTIONS
    options: MeasureOptions = DEFAULT_OPTIONS


@dataclass(frozen=True, eq=False)
class Subject:
    """What is compressed: a traced network with its weights, and the data that it sees.

    equalised: whether the traced network's channels were equalised after its weights were loaded
    """

    dataset: Dataset
    source: zoo.NetworkSource
    weights_sha256: str
    weights_origin: str
    traced: TracedNetwork
    equalised: bool = False

    def tensor(self, images: Images) -> Tensor:
        """Returns images as the network takes them, float32 (N, C, H, W)."""
        return images.tensor(self.source.input_size, self.source.mean, self.source.std)

    @property
    def image_counts(self) -> dict[str, int]:
        """Number of images per split."""
        splits = self.dataset.splits
        return {name: len(getattr(splits, name)) for name in ("calibration", "validation", "test")}

    @property
    def key(self) -> str:
        """Names the network with its weights and the data's splits, for caches."""
        parts = (self.traced.network.fingerprint, self.weights_sha256, self.dataset.splits.sha256)
        return "-".join((*(part[:16] for part in parts), *(["equalised"] if self.equalised else [])))


def open_subject(
    net: str, weights_spec: str, data: str, *, equalise: bool = False, progress: TrainingProgress | None = None
) -> Subject:
    """Returns the network and data that three flags name, weights trained here where nothing else is asked.

    Args:
        net: name of the network
        weights_spec: which weights
        data: name of the data
        equalise: whether channels are equalised on the calibration images
        progress: told about training

    Raises:
        EspalierError: a name, file or combination that cannot be used, or nothing to equalise.
    """
    dataset = open_data(data)
    source = zoo.build(net, dataset.class_count, dataset.input_size)
    loaded = weights.load(source, weights_spec, dataset, progress=progress)
    traced = trace(source.module, source.input_size, source.name)
    subject = Subject(dataset, source, loaded.sha256, loaded.origin, traced)
    return with_equalised_channels(subject) if equalise else subject


def with_equalised_channels(subject: Subject) -> Subject:
    """Returns the subject, its network equalised on its calibration images.

    Raises:
        UnsupportedNetworkError: no tensor whose channels may be scaled.
    """
    calibration = subject.tensor(subject.dataset.splits.calibration)
    return replace(subject, traced=equalised(subject.traced, calibration), equalised=True)


def cached_profile(subject: Subject, calibration: Tensor, progress: Progress, device: torch.device = CPU) -> Profile:
    """Returns the profile of the network on the calibration images, from the cache when it is there.

    Every kind of device has its own.
    """
    parts = (images_sha256(calibration), source_sha256(BEHIND_PROFILES), device.type)
    file = weights.cache_folder() / "profiles" / "-".join((subject.key, *(part[:16] for part in parts)))
    file = file.with_name(f"{file.name}.npz")
    if file.is_file():
        try:
            return load_profile(file)
        except EspalierError:
            file.unlink(missing_ok=True)  # cut short or of another version: made again
    made = fresh_profile(subject, calibration, progress, device)
    _save_profile(made, file)
    return made


def _save_profile(made: Profile, file: Path) -> None:
    with replacing(file, CACHE_ADVICE, parents=True) as partial:
        save_profile(made, partial)


def layer_store(found: Profile) -> LayerStore:
    """Returns the store of repaired layers that runs share, for what follows from a profile and the present code."""
    context = f"{source_sha256(BEHIND_PROFILES)} {profile_sha256(found)} {torch.get_num_threads()}"
    return LayerStore(weights.cache_folder() / "layers", context)


def fresh_profile(subject: Subject, calibration: Tensor, progress: Progress, device: torch.device = CPU) -> Profile:
    """Returns the profile, computed here and now, as a recomputation asks."""
    return profile(subject.traced, calibration, seed=PROFILE_SEED, progress=progress, device=device)


@dataclass(frozen=True, eq=False)
class Assembly:
    """A subject on an accelerator: the network carries its measured zero fractions, the space what may be chosen."""

    subject: Subject
    accelerator: Accelerator
    network: Network
    space: Space
    profile: Profile
    sources: Sources
    options: MeasureOptions = DEFAULT_OPTIONS

    @property
    def unrepaired(self) -> Tensor:
        """Some validation images, float32 (N, C, H, W), whose labels nobody asks for: no repair saw them."""
        return self.subject.tensor(self.subject.dataset.splits.validation.first(UNREPAIRED_IMAGES))

    def problem(self, table: ErrorTable, objective: Objective = "energy") -> Problem:
        """Returns the problem that a table of predicted errors makes of it, before anything was measured.

        Raises:
            MismatchError: a table of another space.
        """
        return Problem(self.network, self.accelerator, self.space, table, Calibration(), objective)


def assemble(subject: Subject, accelerator: Accelerator, found: Profile, terms: Terms) -> Assembly:
    """Returns the parts joined.

    Raises:
        InvalidValueError: bits, patterns or pins that do not fit the network or the hardware.
    """
    network = subject.traced.network.with_zero_fractions(found.zero_in.tolist(), found.zero_out.tolist())
    space = build_space(network, accelerator.capabilities, terms.baseline_bits, terms.restrictions)
    return Assembly(subject, accelerator, network, space, found, terms.sources, terms.options)


def prepare(
    subject: Subject, accelerator: Accelerator, terms: Terms, progress: Progress, device: torch.device = CPU
) -> tuple[Assembly, Measurer]:
    """Returns the parts joined, and what measures plans; profile and repaired layers come from the caches.

    Args:
        subject: what is compressed
        accelerator: for what
        terms: what else shapes the space
        progress: told about the profile
        device: where networks run

    Raises:
        InvalidValueError: bits, patterns or pins that do not fit the network or the hardware.
    """
    calibration = subject.tensor(subject.dataset.splits.calibration)
    found = cached_profile(subject, calibration, progress, device)
    assembly = assemble(subject, accelerator, found, terms)
    store = layer_store(found)
    measurer = Measurer(subject.traced, found, calibration, options=terms.options, store=store, device=device)
    return assembly, measurer


class ProfileStatistics(Sequence[LayerStatistics]):
    """The profile as the error table takes it; moments are centred when asked for, one layer in memory at a time.

    Args:
        found: of the network.
        space: whose activation widths the errors are given at.
    """

    def __init__(self, found: Profile, space: Space) -> None:
        self.layers = found.layers
        self.widths = [found.activation_bits.index(bits) for bits in space.activation_bits]

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Any) -> Any:
        """Returns one layer's statistics, or those of a slice."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        layer = self.layers[index]
        moment = tuple(block.numpy() for block in metric_blocks(layer))
        return LayerStatistics(layer.weight, moment, layer.fisher, layer.activation_error[self.widths])


def use_threads(count: int) -> None:
    """Sets how many threads compute, and that they and CUDA devices compute the same every time, in float32."""
    torch.set_num_threads(count)
    # numpy's products are of single columns (compress.columns), and must not depend on how many processors there are
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # by default that fills every new tensor, which took a seventh of a forward pass; nothing reads uninitialised memory
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # cuBLAS adds in one order only if told so when it starts
    torch.backends.cudnn.benchmark = False  # the fastest kernel is not always the same one
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa
