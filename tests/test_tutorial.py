"""The Python blocks of the documentation run, in order, as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str) -> list[str]:
    """Python blocks of a page, each preceded by as many empty lines as put its line numbers right."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return ["\n" * text[: block.start(1)].count("\n") + block.group(1) for block in found]


# Python blocks that each page must have at least.
PAGES = {
    "panel.md": 5,
    "tutorial.md": 5,
    "inference.md": 1,
    "sorts.md": 4,
    "characteristics.md": 1,
    "files.md": 3,
    "check.md": 1,
    "baselines.md": 3,
    "pricing.md": 4,
    "walk_forward.md": 3,  # the second and third start under __main__
}


@pytest.mark.filterwarnings("ignore::bayesfactor.errors.ConvergenceWarning")  # the page says that its draws are few
@pytest.mark.parametrize("page", PAGES)
def test_blocks_run_in_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    code = blocks(page)
    assert len(code) >= PAGES[page]
    for block in code:
        exec(compile(block, str(DOCS / page), "exec"), names)
    if page == "tutorial.md":
        bands = names["bands"]
        assert str(bands["mean"].idxmax().item()) == bands["characteristic"].values[0]  # the planted slope
        top = names["pairs"].isel(pair=0)
        planted = set(bands["characteristic"].values[[1, 2]])
        assert {top["characteristic"].item(), top["characteristic_2"].item()} == planted
        assert names["table"].attrs["verdict"] == "INCONCLUSIVE"
        assert (tmp_path / "sensitivities.png").stat().st_size > 10_000
