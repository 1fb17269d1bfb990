"""A sweep on a Ray cluster of two nodes: the table of the process backend, also when a worker is killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.sweep import main

pytest.importorskip("ray", reason="Ray is not installed (extra: sweep)")


@pytest.fixture
def cluster(workplace: Path) -> Iterator[Any]:
    """Starts two nodes of one processor each and joins them."""
    import ray
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    started.add_node(num_cpus=1)
    ray.init(address=started.address, log_to_driver=False, logging_level="ERROR")
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.mark.slow
def test_both_backends_give_the_same_table(workplace: Path, process_table: bytes, cluster: Any) -> None:
    import ray

    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    killer = threading.Thread(target=_kill_one_worker, args=(workplace / "ray",), daemon=True)
    killer.start()
    assert main(["sweep.toml", "--backend", "ray", "--address", "auto", "--out", "ray", "--quiet"]) == 0
    killer.join(1)
    assert (workplace / "killed-by-test").exists(), "no worker was killed on the way"
    assert (workplace / "ray" / "table.csv").read_bytes() == process_table


def _kill_one_worker(out: Path) -> None:
    """Kills the first process that runs a cell, once it has measured something."""
    while True:
        if list(out.glob("*/checkpoint/evaluations.jsonl")):
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and _title(process).startswith("ray::_on_node"):
                    os.kill(int(process.name), signal.SIGKILL)
                    (out.parent / "killed-by-test").touch()
                    return
        time.sleep(0.05)


def _title(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
