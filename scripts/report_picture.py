"""Draw docs/pictures/report-*.png from the report that `make demo` left behind. Needs Chromium (Debian: `chromium`)."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

REPORT = Path("var/demo/published/results/report.html")
PICTURES = Path("docs/pictures")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTH, HEIGHT = 1180, 1250


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or not REPORT.exists():
        sys.exit("Run `make demo` first, and install Chromium.")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            page.goto(REPORT.resolve().as_uri())
            page.screenshot(path=PICTURES / f"report-{scheme}.png")
            print(PICTURES / f"report-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
