"""Numbers as the final table shows them."""

import pytest

from agent.summary import four_digits


@pytest.mark.parametrize(
    ("value", "shown"), [(23478.4, "23,478"), (750.62, "750.6"), (17.549, "17.55"), (0.012345, "0.01235"), (0.0, "0")]
)
def test_four_digits_without_exponents(value: float, shown: str) -> None:
    assert four_digits(value) == shown
