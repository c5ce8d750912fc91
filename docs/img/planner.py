"""The pictures of docs/planner.md: the page over the demo, on a desktop by day and by night, and on a phone.

geoplantnet serve demo
python docs/img/planner.py http://127.0.0.1:8080

Needs Playwright and Debian's chromium, and Pillow.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SERVER, HERE = sys.argv[1].rstrip("/"), Path(__file__).parent
PLACE = "place=46.4500,7.8000&tab=here"
PICTURES = {  # name: link, width, height, scheme, language
    "planner": ("#layer=richness&hatch=1", 1280, 800, "light", "en"),
    "planner-dark": (f"#layer=habitat&{PLACE}", 1280, 800, "dark", "fr"),
    "planner-swipe": ("#layer=richness&swipe=richness&swipe-scenario=warmer&swipe-at=46", 1280, 800, "light", "en"),
    "planner-phone": (f"#layer=richness&{PLACE}", 390, 844, "light", "en"),
}

with sync_playwright() as playwright:
    chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"])
    for name, (link, width, height, scheme, language) in PICTURES.items():
        page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, locale=language, reduced_motion="reduce")
        page.goto(f"{SERVER}/{link}")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1500)  # the last tiles are painted
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shot.save(HERE / f"{name}.jpg", quality=86, optimize=True, progressive=True)
        page.close()
    chromium.close()
