"""The benchmark of the accelerator models: what it prints, and that the promised rates are kept."""

import pytest

from experiments.bench.hw_speed import PROMISED, TOOLS_S_PER_LAYER, Rate, Speed, main, measure, rate, resnet50
from hwmodels.loader import load, preset_names


def test_rates_count_the_units_that_work_returns() -> None:
    calls: list[int] = []

    def work() -> int:
        calls.append(sum(range(20_000)))
        return 10

    found = rate(work, 0.02)
    assert found.per_cpu_s == pytest.approx(10 * (len(calls) - 1) / 0.02, rel=0.3)
    assert 0 < found.per_wall_s <= found.per_cpu_s * 1.1


def test_a_promise_is_kept_by_all_rates_that_there_are() -> None:
    fast, slow = Rate(1e8, 1e7), Rate(100.0, 90.0)
    assert Speed("a", fast, fast, None, None).kept()
    assert not Speed("a", fast, fast, fast, slow).kept()
    assert not Speed("a", slow, fast, None, None).kept()


def test_the_network_is_resnet50() -> None:
    network = resnet50()
    assert len(network.layers) == 54
    assert network.macs == pytest.approx(4.09e9, rel=0.01)


def test_the_command_names_every_preset_and_tool(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plans", "4", "--seconds", "0.01"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*preset_names(), *TOOLS_S_PER_LAYER))
    assert "promised on one core: configurations 1,000,000, lookups 10,000,000, searches 300" in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_promised_rates_in_processor_time(name: str) -> None:
    speed = measure(load(name), resnet50(), plans=512, seconds=1.0)
    assert speed.kept(), (speed, PROMISED)
