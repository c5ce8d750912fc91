"""The pictures of docs/planner.md and the README: the page over the demo, and over the Alps.

geoplantnet serve demo
python docs/img/planner.py http://127.0.0.1:8080 demo
geoplantnet serve configs/alps.yaml
python docs/img/planner.py http://127.0.0.1:8080 alps

Needs Playwright and Debian's chromium, and Pillow.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SERVER, WHICH, HERE = sys.argv[1].rstrip("/"), sys.argv[2], Path(__file__).parent
VALLEY = "#layer=richness&at=46.34,8.0&zoom=7.8"
RECORDS = "#layer=species.v002&at=46.45,7.98&zoom=7"
PICTURES = {  # name: link, width, height, scheme, language
    "demo": {
        "demo.png": ("#layer=richness", 1280, 800, "light", "en"),
        "planner.jpg": ("#layer=richness&hatch=1", 1280, 800, "light", "en"),
        "planner-dark.jpg": ("#layer=habitat&place=46.4500,7.8000&tab=here", 1280, 800, "dark", "fr"),
        "planner-records.jpg": (RECORDS, 1280, 800, "light", "en"),
        "planner-swipe.jpg": ("#layer=richness&swipe=richness&swipe-scenario=warmer&swipe-at=46", 1280, 800, "light", "en"),
    },
    "alps": {
        "alps-aletsch.png": ("#layer=richness&at=46.42,7.98&zoom=7.2", 1280, 800, "light", "en"),
        "planner-phone.jpg": ("#layer=tree_richness&at=46.33,7.99&zoom=8&place=46.3200,7.9900&tab=here", 390, 844, "light", "en"),
        "planner-area.jpg": (VALLEY, 1280, 800, "light", "en"),
        "planner-table.jpg": (VALLEY, 1280, 800, "light", "en"),
    },
}


def ask(page: Page) -> None:
    """Draw a rectangle in the valley, and get its coverage."""
    page.get_by_role("tab", name="Area").click()
    page.get_by_role("button", name="Draw a rectangle").click()
    for corner in ((620, 330), (790, 470)):
        page.mouse.click(*corner)
        page.wait_for_timeout(400)
    page.get_by_role("button", name="Get coverage").first.click()
    page.get_by_role("button", name="Enlarge the table").first.wait_for()


with sync_playwright() as playwright:
    chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"])
    for name, (link, width, height, scheme, language) in PICTURES[WHICH].items():
        page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, locale=language, reduced_motion="reduce")
        page.goto(f"{SERVER}/{link}")
        page.wait_for_timeout(3500)  # the last tiles are painted
        if link == VALLEY:
            ask(page)
        if link == RECORDS:
            page.get_by_role("button", name="Records").click()
            page.locator("dialog.records .scale-choice").scroll_into_view_if_needed()
            page.locator("dialog.records").evaluate("node => node.scrollTo(0, 330)")
        if name == "planner-table.jpg":
            page.get_by_role("button", name="Enlarge the table").first.click()
        page.wait_for_timeout(1000)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        if name.endswith(".png"):
            shot.quantize(256, dither=Image.Dither.NONE).save(HERE / name, optimize=True)
        else:
            shot.save(HERE / name, quality=86, optimize=True, progressive=True)
        page.close()
    chromium.close()
