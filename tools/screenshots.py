"""Pictures of the demo page, as docs/images has them, from a server that runs:

emsa serve runs/default/export/merged                       # in another terminal
python tools/screenshots.py http://127.0.0.1:8000           # needs what make test-browser installs
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

LOOKS = {
    "demo": {"viewport": {"width": 1280, "height": 900}},
    "demo_dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "demo_phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True},
    "demo_two": {"viewport": {"width": 1440, "height": 900}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where the page is")
    parser.add_argument("--second", help="address of the second policy, up to /v1; without it the same")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", nargs="*", choices=LOOKS, default=list(LOOKS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in options.only:
            page = browser.new_context(**LOOKS[name]).new_page()
            page.goto(options.url)
            if name == "demo_two":
                page.check("#two")
                page.fill("#policyB [data-is=address]", options.second or f"{options.url.rstrip('/')}/v1")
                page.dispatch_event("#policyB [data-is=address]", "change")
            take(page, options.out / f"{name}.png")
        browser.close()


def take(page: Page, path: Path) -> None:
    """Asks about the clip whose words mislead, and takes a picture of all of the page."""
    page.click("[data-sample] >> nth=1")
    page.wait_for_selector("body[data-clip]", state="attached")
    page.click("#ask")
    page.wait_for_selector("body:not([data-busy])", state="attached", timeout=300_000)
    page.wait_for_timeout(1000)  # the browser shows the first picture late
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    picture.convert("RGB").quantize(256).save(path, optimize=True)  # a third of the size
    print(path)


if __name__ == "__main__":
    main()
