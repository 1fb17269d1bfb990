"""The report of a run in a headless browser, on a desk and on a phone: nothing missing, nothing overlapping."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.bench import Bench

FIGURES = ("frontier", "energy", "fidelity", "search", "curves")
WIDTHS = (1280, 390)
OVERLAPS = """
() => {
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest('script, #tip, .scroll')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width > 1 && box.height > 1) boxes.push({box, text: node.textContent.trim().slice(0, 40)});
    }
  }
  const found = [];
  for (let i = 0; i < boxes.length; i += 1) {
    for (let j = i + 1; j < boxes.length; j += 1) {
      const a = boxes[i].box, b = boxes[j].box;
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 3) found.push(boxes[i].text + ' | ' + boxes[j].text);
    }
  }
  return found;
}
"""
"""Pairs of texts whose boxes overlap by more than a hair."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: browser)")
    with driver.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def run_folder(bench: Bench) -> Path:
    """Returns the folder of a short ResNet-20 run, or of the one that $ESPALIER_REPORT_RUN names."""
    if "ESPALIER_REPORT_RUN" in os.environ:
        return Path(os.environ["ESPALIER_REPORT_RUN"])
    sources = ("--net", "resnet20", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss")
    effort = ("--steps", "3000", "--evaluations", "6", "--max-drop", "5", "--out", "resnet20")
    result = bench.run("agent.train", *sources, *effort)
    assert result.returncode == 0, result.stderr
    return bench.folder / "resnet20"


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_opens(browser: Any, run_folder: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else messages.append(request.url)
    )
    page.goto((run_folder / "report.html").absolute().as_uri())
    page.screenshot(path=run_folder / f"report-{width}.png", full_page=True)
    assert messages == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in FIGURES:
        assert page.locator(f"[data-figure={name}] svg").count() >= 1, name
    assert page.locator("#layers tbody tr").count() == 20
    assert page.evaluate(OVERLAPS) == []
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_pointing_at_a_plan_tells_its_choices(browser: Any, run_folder: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((run_folder / "report.html").absolute().as_uri())
    tip = page.locator("#tip")
    assert tip.is_hidden()
    for kind in ("validation", "predicted", "test"):
        mark = page.locator(f"[data-figure=frontier] [data-kind={kind}]").last
        mark.scroll_into_view_if_needed()
        if kind == "test":
            mark.hover()
        else:
            mark.focus()  # other marks may lie above these
        assert tip.is_visible()
        text = tip.inner_text()
        assert "of dense" in text
        assert "weights" in text
        assert "drop" in text
        box = tip.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    assert page.locator("[data-figure=frontier] .interval").count() >= 2
    page.close()


@pytest.mark.slow
def test_a_narrower_window_draws_again(browser: Any, run_folder: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((run_folder / "report.html").absolute().as_uri())
    wide = page.locator("[data-figure=frontier] > svg").bounding_box()
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_function("document.querySelector('[data-figure=frontier] > svg').viewBox.baseVal.width < 400")
    narrow = page.locator("[data-figure=frontier] > svg").bounding_box()
    assert wide is not None
    assert narrow is not None
    assert narrow["width"] < 390 < wide["width"]
    page.close()
