"""A folder in which commands run on a tiny network, as a user starts them."""

import contextlib
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
NETWORK = """
import torch
from torch import nn


class Tiny(nn.Module):
    input_size = (3, 12, 12)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(torch.relu(self.conv2(x)).mean((2, 3)))


def build():
    return Tiny()
"""


def write_inputs(folder: Path) -> None:
    """Writes net.py and data.npz: 240 images of three textures, told apart by their colours."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 240)
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])[labels]
    images = colours[:, None, None, :] + rng.normal(0, 40, (240, 12, 12, 3))
    np.savez(folder / "data.npz", x=images.clip(0, 255).astype(np.uint8), y=labels)
    (folder / "net.py").write_text(NETWORK)


class Bench:
    """A folder in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ESPALIER_CACHE": str(folder / "cache")}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in this process, which has torch in memory; `apart` costs seconds more."""
        told, complained = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.folder):
            patch.setenv("ESPALIER_CACHE", self.environment["ESPALIER_CACHE"])
            patch.setattr(sys, "argv", list(words))
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complained):
                status = importlib.import_module(words[0]).main(list(words[1:]))
        return subprocess.CompletedProcess(list(words), status, told.getvalue(), complained.getvalue())

    def apart(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in a process of its own."""
        command = [sys.executable, "-m", *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def train(self, out: str, *words: str) -> Path:
        """Returns the run folder of a finished training."""
        sources = ["--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss"]
        effort = ["--steps", "300", "--evaluations", "6", "--max-drop", "20"]
        result = self.run("agent.train", *sources, *effort, "--out", out, *words)
        assert result.returncode == 0, result.stderr
        return self.folder / out

    def evaluate(self, plan: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("agent.evaluate", str(plan), "--net", "net.py:build", *words)
