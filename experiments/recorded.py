"""What `experiments.fidelity` recorded: which images every measured plan answers right, and the network as given."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from agent.build import open_subject
from compress.batches import batch_of
from envs.accuracy.archive import unpacked
from plan.command import Parser
from plan.errors import FileFormatError, MismatchError, MissingFileError


@dataclass(frozen=True, eq=False)
class Record:
    """Right answers of the network as given, bool (images,), and of every measured plan, bool (plans, images)."""

    dense: NDArray[np.bool_]
    plans: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Given:
    """What the network as given makes of the same images.

    outputs: float32 (images, classes); labels: int64 (images,), its first answers where the data have none; batch: in
    which images run
    """

    outputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    batch: int


def add_record_flags(parser: Parser) -> None:
    """Gives a command the record and the flags that name its network and data."""
    parser.add_argument("record", type=Path, help="measurements of experiments.fidelity, a .jsonl file")
    parser.add_argument("--net", required=True, help="as of agent.train")
    parser.add_argument("--weights", default="auto", help="as of agent.train")
    parser.add_argument("--data", default="digits", help="as of agent.train")


def read_record(file: Path) -> Record:
    """Returns the plans of an archive that ran on as many images as the network as given.

    Raises:
        MissingFileError: no such file.
        FileFormatError: it is no archive of full measurements.
    """
    if not file.is_file():
        raise MissingFileError(f"{file}: no such record; python -m experiments.fidelity makes one")
    dense, plans = None, list[NDArray[np.bool_]]()
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            content = json.loads(line)
            if "dense" in content:
                dense = unpacked(content["dense"], content["of"])
            elif "correct" in content and "run" not in content:
                plans.append(unpacked(content["correct"], content["of"]))
        if dense is None or not plans or any(len(plan) != len(dense) for plan in plans):
            raise ValueError("plans and network were not measured on the same images")
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(str(file), [f"not a record of experiments.fidelity ({error})"]) from error
    return Record(dense, np.stack(plans))


def run_as_given(options: argparse.Namespace, images: int) -> Given:
    """Returns what the network that the flags name makes of validation and test images, in the order of the record.

    Raises:
        MismatchError: the record is of another number of images.
    """
    subject = open_subject(options.net, options.weights, options.data)
    splits, batch = subject.dataset.splits, batch_of(subject.traced.network)
    parts = (splits.validation, splits.test)
    if sum(map(len, parts)) != images:
        raise MismatchError(f"the record has {images} images, the data {sum(map(len, parts))}; measure all of them")
    with torch.inference_mode():
        batches = [one for part in parts for one in torch.split(subject.tensor(part), batch)]
        outputs = torch.cat([subject.traced.module(one) for one in batches]).numpy()
    answers = outputs.argmax(1)
    known = [part.labels for part in parts]
    labels = answers if any(one is None for one in known) else np.concatenate([one for one in known if one is not None])
    return Given(outputs, labels, batch)
