"""The page in headless Chromium, from upload to download. Pictures of it go where MEMEFLY_SCREENSHOTS says."""

import io
import os
import random
import re
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
import uvicorn
import yaml
from PIL import Image
from told import Told

from memefly.datasets import sample
from memefly.errors import BackendError, BusyError
from memefly.exported.captions import Caption
from memefly.serving.service import create_app
from memefly.serving.settings import ServiceConfig

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium), which is not there"),
]
SAID = ["one does not simply\nfeed a penguin", "brace yourselves the umbrellas are coming", "is this\na duck?"]
DESKTOP, PHONE = {"viewport": {"width": 1360, "height": 900}}, {"viewport": {"width": 390, "height": 844}}
LOOKS = {
    "desktop": DESKTOP,
    "phone": {**PHONE, "has_touch": True, "is_mobile": True, "device_scale_factor": 2},
    "dark": {**DESKTOP, "color_scheme": "dark"},
    "still": {**DESKTOP, "reduced_motion": "reduce"},
}


def scene(seed: int) -> bytes:
    rng = random.Random(seed)
    return sample.render(sample.draw_scene(rng), rng)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "scene.png").write_bytes(scene(3))
    templates = folder / "templates"
    templates.mkdir()
    for i, name in enumerate(("Sleepy Penguin", "Grumpy Fox")):
        key = name.lower().replace(" ", "-")
        (templates / f"{key}.png").write_bytes(scene(i))
        (templates / f"{key}.yaml").write_text(yaml.safe_dump({"name": name, "picture": f"{key}.png"}))
    return folder


class Server:
    def __init__(self, folder: Path, **config):
        self.backend = Told()
        self.backend.captions = [Caption(text, -0.1 * i) for i, text in enumerate(SAID)]
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        app = create_app(self.backend, ServiceConfig(templates=folder / "templates", megabytes=1, **config))
        self._server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder)
    yield server
    server.close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(server, browser):
    """Opens the page; whatever it says to the console or asks of others is a fault."""
    contexts, faults = [], []
    server.backend.raises = None

    def go(path: str = "", **how):
        context = browser.new_context(**{**DESKTOP, **how})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
        page.on(
            "request", lambda asked: asked.url.startswith((server.url, "blob:", "data:")) or faults.append(asked.url)
        )
        page.goto(server.url + path)
        page.wait_for_selector("#templates button")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not faults


def shot(page, name: str) -> None:
    if folder := os.environ.get("MEMEFLY_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def violations(page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{one['id']}: {[node['html'][:80] for node in one['nodes']]}" for one in found]


def upload(page, folder) -> None:
    page.set_input_files("#file", folder / "scene.png")
    page.wait_for_selector("#workplace:visible")


def write(page) -> None:
    page.click("#write")
    page.wait_for_selector(".choice")
    page.wait_for_function("() => document.querySelector('#picture').alt.includes('feed a penguin')")


def says(page, words: str) -> None:
    page.wait_for_function("words => document.querySelector('#message').textContent.includes(words)", arg=words)


@pytest.mark.parametrize("look", LOOKS)
def test_from_upload_to_download(look, opened, folder):
    page = opened(**LOOKS[look])
    assert violations(page) == []
    shot(page, f"{look}-empty")
    upload(page, folder)
    write(page)
    assert page.locator(".choice").count() == 3
    page.wait_for_selector("#words button")
    assert violations(page) == []
    shot(page, look)
    page.locator(".choice").nth(1).click()
    page.wait_for_function("() => document.querySelector('#picture').alt.includes('brace yourselves')")
    page.fill("#text-1", "winter is here")
    page.wait_for_function("() => document.querySelector('#picture').alt.endsWith('winter is here')")
    with page.expect_download() as downloading:
        page.click("#download")
    assert downloading.value.suggested_filename == "scene-meme.jpg"
    with Image.open(downloading.value.path()) as meme:
        assert meme.format == "JPEG" and meme.size == Image.open(folder / "scene.png").size
    if look == "still":
        page.evaluate("document.querySelector('#message').className = 'message working'")
        assert page.evaluate("getComputedStyle(document.querySelector('#message'), '::before').animationName") == "none"


def test_words_to_begin_with_and_where_it_looked(opened, server, folder):
    page = opened()
    upload(page, folder)
    server.backend.asked.clear()
    page.fill("#begin", "one does not")
    page.press("#begin", "Enter")
    page.wait_for_selector(".choice")
    ((_, knobs),) = server.backend.asked
    assert knobs["prefix"] == "one does not" and knobs["beam"] == 6
    page.hover("#words button >> nth=1")
    bright = "[...document.querySelector('#heat').getContext('2d').getImageData(0, 0, 50, 50).data].some(x => x > 0)"
    assert page.evaluate(bright)
    page.hover("h1")
    assert not page.evaluate(bright)


def test_boxes_are_moved_sized_and_turned_with_keys_and_pointer(opened, server):
    page = opened()
    page.click("#templates button >> nth=0")
    page.wait_for_selector(".box")
    page.fill("#text-0", "up here")
    page.wait_for_function("() => document.querySelector('#picture').alt.endsWith('up here')")
    page.locator(".box").nth(0).focus()
    sent = []
    page.on("request", lambda asked: sent.append(asked.post_data_json) if asked.url.endswith("render") else None)
    for key in ("ArrowDown", "ArrowDown", "Shift+ArrowLeft", "Alt+ArrowLeft"):
        page.keyboard.press(key)
    page.wait_for_timeout(600)
    box = sent[-1]["boxes"][0]
    assert (box["x"], box["y"], box["width"], box["angle"]) == (0.01, 0.03, 0.97, 2)
    assert page.evaluate("document.activeElement.classList.contains('box')"), "the focus stays on it"
    place = page.locator(".box").nth(1).bounding_box()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] - 100, steps=5)
    page.mouse.up()
    page.wait_for_timeout(600)
    assert 0.2 < sent[-1]["boxes"][1]["y"] < 0.6
    page.click("#add")
    page.wait_for_function("() => document.querySelectorAll('.box').length === 3")
    page.click("[aria-label='Remove text box 3']")
    page.wait_for_function("() => document.querySelectorAll('.box').length === 2")


def test_all_of_it_by_keyboard(opened, folder):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("Boolean(document.activeElement.closest('#templates'))"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#workplace:visible")
    page.focus("#write")
    page.keyboard.press("Enter")
    page.wait_for_selector(".choice")
    page.focus(".choice input:checked")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#picture').alt.includes('brace yourselves')")


def test_a_link_holds_template_and_words_and_no_picture(opened, server, folder):
    page = opened("#t=grumpy-fox&w=no&w=never")
    page.wait_for_function("() => document.querySelector('#picture').alt === 'Meme “Grumpy Fox”: no / never'")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("delete Navigator.prototype.share")
    page.click("#share")
    says(page, "The link holds")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == server.url + "#t=grumpy-fox&w=no&w=never"
    page.click("#copy")
    says(page, "Copied")
    upload(page, folder)
    assert page.locator("#share").is_hidden()
    wrong = opened("#t=nobody&w=a")
    says(wrong, "no template")


def test_a_key_is_asked_for_once_and_thumbnails_come_with_it(browser, folder, tmp_path):
    (tmp_path / "keys").write_text("open sesame\n")
    server, asked = Server(folder, keys=tmp_path / "keys"), []
    context = browser.new_context(**DESKTOP)
    page = context.new_page()

    def give(dialog) -> None:
        asked.append(dialog.message)
        dialog.accept("open sesame")

    page.on("dialog", give)
    page.goto(server.url)
    page.wait_for_function(
        "() => [...document.querySelectorAll('#templates img')].filter(one => one.naturalWidth === 160).length === 2"
    )
    assert asked == ["An API key is needed here:"]
    context.close()
    server.close()


@pytest.mark.parametrize("words", ["مرحبا بكم في العالم", "😂 party 🎉", "我们今天去吃饭吧", "שלום עולם"])
def test_words_of_any_script(opened, words):
    page = opened()
    page.click("#templates button >> nth=1")
    page.wait_for_selector("#workplace:visible")
    page.fill("#text-0", words)
    page.wait_for_function("words => document.querySelector('#picture').alt.endsWith(words)", arg=words)
    shot(page, re.sub(r"\W+", "", words))


def test_what_goes_wrong_is_told(opened, server, folder, tmp_path):
    page = opened()
    (tmp_path / "none.png").write_bytes(b"no picture")
    page.set_input_files("#file", tmp_path / "none.png")
    says(page, "no picture that can be read")
    moving = [Image.effect_noise((500, 500), 80 + i).convert("L") for i in range(6)]
    out = io.BytesIO()
    moving[0].save(out, format="GIF", save_all=True, append_images=moving[1:])
    assert out.tell() > 1 << 20
    (tmp_path / "large.gif").write_bytes(out.getvalue())
    page.set_input_files("#file", tmp_path / "large.gif")
    says(page, "too large")
    assert page.locator("#workplace").is_hidden() and violations(page) == []
    upload(page, folder)
    server.backend.raises = BackendError("away")
    page.click("#write")
    says(page, "no model")
    page.fill("#text-0", "my own")
    page.wait_for_function("() => document.querySelector('#picture').alt.endsWith('my own')")
    server.backend.raises = BusyError("64 wait")
    page.click("#write")
    says(page, "Too many people")
    server.backend.raises = None
    page.context.set_offline(True)
    says(page, "offline")
    page.click("#write")
    says(page, "offline")
    page.context.set_offline(False)
    says(page, "online again")
    write(page)
    page.fill("#search", "nothing like it")
    page.wait_for_function("() => document.querySelector('#found').textContent.includes('None')")
    assert violations(page) == []
