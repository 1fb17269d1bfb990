"""Stand-in weights: a short, deterministic training on the embedded data, resumable after every epoch.

The recipe (AdamW, one cycle, label smoothing, random shifts) is one for all networks; only the number of epochs falls
with the network's size, so that the largest ends within minutes on two cores.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from plan.atomic import CACHE_ADVICE, replacing

Progress = Callable[[int, int, str], None]
"""Called with (epochs done, epochs in total, a short text)."""


SECONDS_BETWEEN_CHECKPOINTS = 15.0


@dataclass(frozen=True)
class Recipe:
    """How to train: `shift` is the largest random translation in pixels, the rest as the words say."""

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    warm_up: float = 0.25
    shift: int = 2
    seed: int = 0


MOST_EPOCHS, FEWEST_EPOCHS = 30, 5
MACS_AT_MOST_EPOCHS = 10e6
NORMALISATIONS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def recipe_for(module: nn.Module, macs: int) -> Recipe:
    """Returns the recipe for a network of that many multiply-accumulates per image.

    Epochs fall with the root of the size, so that time grows with the root as well. Networks without normalisation
    learn at a quarter of the rate.
    """
    epochs = round(MOST_EPOCHS * (MACS_AT_MOST_EPOCHS / max(macs, 1)) ** 0.5)
    normalised = any(isinstance(layer, NORMALISATIONS) for layer in module.modules())
    return Recipe(
        epochs=min(max(epochs, FEWEST_EPOCHS), MOST_EPOCHS),
        learning_rate=Recipe.learning_rate if normalised else Recipe.learning_rate / 4,
    )


@dataclass
class _State:
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    epoch: int = 0


def train(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    recipe: Recipe,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Trains the module in place and leaves it in evaluation mode; the same seed gives the same weights.

    Args:
        module: with initial weights.
        images: (N, 3, H, W) float32, normalised.
        labels: (N,) int64.
        recipe: what to do.
        checkpoint: written between epochs and resumed from, removed at the end; a checkpoint of another recipe or
            network is ignored.
        progress: told about every epoch.

    Raises:
        UnwritableError: the checkpoint cannot be written.
    """
    module.to(memory_format=torch.channels_last)
    state = _start(module, recipe, _batches(len(images), recipe.batch))
    if checkpoint is not None:
        _resume(checkpoint, module, recipe, state)
    saved_at = time.monotonic()
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
        while state.epoch < recipe.epochs:
            torch.manual_seed(recipe.seed * 10_007 + state.epoch)
            loss = _epoch(module, images, labels, recipe, state)
            state.epoch += 1
            if checkpoint is not None and time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
                _save(checkpoint, module, recipe, state)
                saved_at = time.monotonic()
            if progress is not None:
                progress(state.epoch, recipe.epochs, f"loss {loss:.3f}")
    _settle(module, images, recipe.batch)
    module.to(memory_format=torch.contiguous_format).eval()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)


def _batches(count: int, batch: int) -> int:
    return max(count // batch, 1)


def _start(module: nn.Module, recipe: Recipe, steps_per_epoch: int) -> _State:
    matrices = [value for value in module.parameters() if value.ndim > 1]
    vectors = [value for value in module.parameters() if value.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps_per_epoch + 1, pct_start=recipe.warm_up
    )
    return _State(optimizer, schedule, torch.Generator().manual_seed(recipe.seed))


def _epoch(module: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, state: _State) -> float:
    """Returns the mean loss of one pass over shuffled, shifted images."""
    module.train()
    steps, total = _batches(len(images), recipe.batch), 0.0
    order = torch.randperm(len(images), generator=state.generator)
    for step in range(steps):
        chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
        batch = shifted(images[chosen], recipe.shift, state.generator).contiguous(memory_format=torch.channels_last)
        loss = functional.cross_entropy(module(batch), labels[chosen], label_smoothing=recipe.label_smoothing)
        state.optimizer.zero_grad()
        torch.autograd.backward(loss)
        state.optimizer.step()
        state.schedule.step()
        total += float(loss.detach())
    return total / steps


@torch.no_grad()
def _settle(module: nn.Module, images: Tensor, batch: int) -> None:
    """Averages anew the statistics of batch norms whose running mean is too slow for a training this short."""
    slow = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d) and (layer.momentum or 1) < 0.1]
    if not slow:
        return
    module.eval()
    momenta = [layer.momentum for layer in slow]
    for layer in slow:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
        layer.train()
    for step in range(_batches(len(images), batch)):  # whole batches: a single image has no variance
        module(images[step * batch : (step + 1) * batch])
    for layer, momentum in zip(slow, momenta, strict=True):
        layer.momentum = momentum


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Returns (N, C, H, W) images, each moved by up to `most` pixels both ways; the border is replicated."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most), mode="replicate")
    down, right = torch.randint(0, 2 * most + 1, (2, count), generator=generator)
    rows = (down[:, None] + torch.arange(height))[:, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, :]
    return padded[torch.arange(count)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)


def _save(path: Path, module: nn.Module, recipe: Recipe, state: _State) -> None:
    content = {
        "recipe": asdict(recipe),
        "epoch": state.epoch,
        "module": module.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": _plain(state.schedule.state_dict()),
        "generator": state.generator.get_state(),
    }
    with replacing(path, CACHE_ADVICE, parents=True, failures=(RuntimeError,)) as partial:
        torch.save(content, partial)


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if isinstance(value, int | float | str | bool | list)}


def _resume(path: Path, module: nn.Module, recipe: Recipe, state: _State) -> None:
    """Restores the state of a run of the same recipe and network; leaves everything as it is otherwise."""
    try:
        content = torch.load(path, weights_only=True)
        saved = {name: tuple(value.shape) for name, value in content["module"].items()}
    except (OSError, RuntimeError, EOFError, KeyError, AttributeError, ValueError, pickle.UnpicklingError):
        return  # none, or cut short: the training starts anew and ends in the same weights
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if content.get("recipe") != asdict(recipe) or saved != wanted:
        return
    module.load_state_dict(content["module"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.schedule.load_state_dict(content["schedule"])
    state.generator.set_state(content["generator"])
    state.epoch = int(content["epoch"])
