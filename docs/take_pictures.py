"""Take the pictures of ``docs/pictures`` anew: ``python docs/take_pictures.py``, or ``... report`` for some.

Each page is made by lsbench on this machine, with the embedded model, so figures differ from one taking to
the next. Needs Chromium and the development dependencies; a few minutes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PICTURES = Path(__file__).parent / "pictures"
MOST_BYTES = 300_000
PATIENCE_MS = 300_000
"""How long a browser on a busy machine may take for anything."""

COMMANDS = {
    "report": (
        "run --strategy dynamic_exit --strategy self_speculative:draft=static_exit,draft.exit_layer=25 "
        "--tasks humaneval,humaneval_bpb --limit 8 --max-new-tokens 64"
    ),
    "inspect": "inspect --tasks humaneval --limit 2",
}
"""What makes each page; it is the one ``.html`` in the folder."""


def to_tokens(page: Page) -> None:
    """The sample view, with a token pointed at that stopped early."""
    page.locator("#samples").evaluate("view => view.scrollIntoView()")
    page.locator(".answers .shaded").first.wait_for()
    page.locator(".prompt").evaluate("prompt => prompt.style.maxHeight = '8rem'")
    tokens = page.locator(".answers > div").nth(1).locator(".token")
    shares = tokens.evaluate_all("them => them.map(one => parseFloat(one.style.getPropertyValue('--share')))")
    early = [place for place, share in enumerate(shares) if share > 30]
    tokens.nth(early[len(early) // 3]).hover()


def to_layers(page: Page) -> None:
    """The heatmap of tokens and layers, with a cell pointed at."""
    page.locator("#lens").evaluate("section => section.scrollIntoView()")
    page.locator("#lens-0 .nsewdrag").hover(position={"x": 300, "y": 200})
    page.locator("#lens-0 .hoverlayer .hovertext").wait_for()


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: its file's, without the ending.
        page: which of ``COMMANDS`` makes what it shows.
        size: width and height of the window.
        scheme: what the reader prefers.
        show: brings to sight what is worth seeing; else the page's beginning.
    """

    name: str
    page: str
    size: tuple[int, int] = (1000, 1400)
    scheme: Literal["light", "dark"] = "light"
    show: Callable[[Page], None] | None = None


TAKEN = (
    Picture("report", "report"),
    Picture("report-dark", "report", (1000, 1000), "dark", to_tokens),
    Picture("report-phone", "report", (390, 844)),
    Picture("inspect", "inspect"),
    Picture("inspect-tokens", "inspect", (1000, 1100), "dark", to_layers),
)


def made(name: str, folder: Path) -> Path:
    """The page of that name, made by its command unless the folder has it."""
    found = list((folder / name).rglob("*.html"))
    if found:
        return found[0].absolute()
    command = ["lsbench", *COMMANDS[name].split(), "--output", str(folder / name)]
    print(" ".join(command), file=sys.stderr)
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
    (page,) = (folder / name).rglob("*.html")
    return page


def take(picture: Picture, path: Path, browser: Browser) -> None:
    """Open the page as the picture wants it, and write the picture."""
    width, height = picture.size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=picture.scheme)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-figures]")
    if picture.show is not None:
        picture.show(page)
    file = PICTURES / f"{picture.name}.png"
    page.screenshot(path=file)
    page.close()
    size = file.stat().st_size
    print(f"{file.name}: {size:,} bytes", file=sys.stderr)
    if size > MOST_BYTES:
        sys.exit(f"{file.name} is larger than {MOST_BYTES:,} bytes: show less of the page")


def main() -> None:
    """Make the pages and take their pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="where pages are kept, and taken from if there [thrown away]"
    )
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"{', '.join(COMMANDS)} [all]")
    asked = parser.parse_args()
    pages = asked.pages or list(COMMANDS)
    if unknown := set(pages) - set(COMMANDS):
        parser.error(f"no page {', '.join(sorted(unknown))}: there are {', '.join(COMMANDS)}")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("no Chromium is installed here")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as passing, sync_playwright() as playwright:
        paths = {name: made(name, asked.folder or Path(passing)) for name in pages}
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        for picture in TAKEN:
            if picture.page in paths:
                take(picture, paths[picture.page], browser)
        browser.close()


if __name__ == "__main__":
    main()
