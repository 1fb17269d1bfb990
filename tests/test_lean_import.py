"""The packages that hold no network import without torch, so that they start fast and run anywhere."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "ray", "matplotlib", "stable_baselines3")


def modules(package: str) -> list[str]:
    files = sorted((REPOSITORY / package).rglob("*.py"))
    names = [path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".") for path in files]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("package", ["plan", "hwmodels", "envs"])
def test_imports_without_heavy_libraries(package: str) -> None:
    names = modules(package)
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    code += f"print(sorted(set(sys.modules) & set({HEAVY})))"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_a_question_is_answered_without_torch() -> None:
    code = "import sys, agent.query, agent.opened_run, agent.answer\n"
    code += f"print(sorted(set(sys.modules) & set({(*HEAVY, 'scipy.optimize', 'scipy.stats')})))"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
