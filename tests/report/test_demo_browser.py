"""The demo page in a real browser, against a server that follows OpenAI's protocol: `make test-browser`."""

import base64
import io
import re
import runpy
import shutil
import subprocess
import sys
import time
import wave
from pathlib import Path

import av
import pytest

from emsa_jax.report.demo_page import demo_page
from tests.serving.conftest import write_policy

names = runpy.run_path(str(Path(__file__).with_name("demo_server.py")))
EMSA, STATUSES, TEXT, TOKEN, DemoServer = (names[one] for one in ("EMSA", "STATUSES", "TEXT", "TOKEN", "DemoServer"))

ROOT = Path(__file__).parents[2]
NOTHING_READ = "The answer names no polarity and no score; it stands below as it was written."
pytestmark = pytest.mark.browser
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu", *camera]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def content():
    return demo_page()


@pytest.fixture
def server(content):
    served = DemoServer(content)
    yield served
    served.shutdown()
    served.server_close()


@pytest.fixture
def visit(browser, server):
    """visit(size="desktop", model="emsa", **context) -> the page, opened; what it complains of is in page.trouble."""
    contexts = []

    def open_page(size="desktop", model="emsa", **options):
        context = browser.new_context(viewport=SIZES[size], permissions=["camera", "microphone"], **options)
        contexts.append(context)
        page = context.new_page()
        page.trouble = []
        page.on("console", lambda message: message.type in ("error", "warning") and page.trouble.append(message.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.goto(server.url)
        until(page, "document.querySelector('#policyA [data-is=model]').value")
        if model != "emsa":
            choose(page, "A", model)
        return page

    yield open_page
    for context in contexts:
        context.close()


def until(page, condition, seconds=20):
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        time.sleep(0.05)


def part(page, name, side="A"):
    return page.locator(f"#policy{side} [data-is={name}]")


def choose(page, side, model, **fields):
    """Fills in where a policy is asked."""
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for name, value in {**fields, "model": model}.items():
        part(page, name, side).fill(value)
        part(page, name, side).dispatch_event("change")
    until(page, f"document.querySelector('#policy{side} [data-is=about]').textContent")


def sample(page, which=1):
    page.locator("[data-sample]").nth(which).click()
    page.wait_for_selector("body[data-clip]", state="attached")


def asked(page):
    page.get_by_role("button", name="Ask").click()
    page.wait_for_selector("body:not([data-busy])", state="attached")


def reasons(page, side="A"):
    names, texts = (part(page, "reasons", side).locator(tag).all_text_contents() for tag in ("dt", "dd"))
    return dict(zip(names, texts, strict=True))


REASONS = {"words": "good.", "face": "mild frown.", "voice": "falling, slow.", "together": "face and voice decide."}


def test_a_drawn_clip_is_shown_sent_and_judged(visit, server):
    page = visit()
    sample(page)
    assert page.locator("#frames canvas").count() == 8 and "1.2 s of sound" in page.locator("#facts").inner_text()
    assert page.locator("#wave").get_attribute("aria-label") == "waveform of 1.2 s"
    assert page.evaluate("new Set(wave.getContext('2d').getImageData(0, 0, wave.width, wave.height).data).size") > 3
    faces = "[...document.querySelectorAll('#frames canvas')].map(one => one.toDataURL())"
    assert page.evaluate(f"new Set({faces}).size") > 4  # different moments, none of them empty
    asked(page)
    (body,) = server.asked
    video, words = body["messages"][0]["content"]
    kind, data = video["video_url"]["url"].split(";base64,")
    with av.open(io.BytesIO(base64.b64decode(data))) as container:
        assert kind == "data:video/mp4" and len(list(container.decode(video=0))) == 10
    assert words == {"type": "text", "text": "The game was wonderful."} and body["show_prompt"] is True
    assert body["stream"] is True and body["temperature"] == 0 and "max_tokens" not in body
    assert part(page, "polarity").inner_text() == "Negative" and part(page, "score").inner_text() == "score −1.2"
    assert part(page, "dial").get_attribute("aria-label") == "score -1.2, of -3 to 3"
    assert reasons(page) == REASONS
    shown = part(page, "seen").inner_text()
    assert "10 frames, 8 a second" in shown and "1.2 s of sound" in shown and "93 tokens, video at 4 to 23" in shown
    assert "The game was wonderful." in shown and part(page, "prompt").text_content() == EMSA["prompt"]["text"]
    assert page.locator("#said").inner_text() == "Policy A: Negative, score −1.2."
    assert page.trouble == []


def test_words_alone_by_keyboard_alone(visit, server):
    page = visit()
    page.locator("#words").focus()
    page.keyboard.type("What a <b>lovely</b> evening.")
    page.keyboard.press("Control+Enter")
    until(page, "document.getElementById('said').textContent.startsWith('Policy A')")
    assert server.asked[0]["messages"][0]["content"] == [{"type": "text", "text": "What a <b>lovely</b> evening."}]
    assert "What a <b>lovely</b> evening." in part(page, "seen").inner_text()  # as it was typed, and no markup
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"ask", "two", "SUMMARY"} <= set(reached)
    assert page.trouble == []


def test_the_answer_grows_while_it_comes_and_can_be_stopped(visit, server):
    page = visit(model="slow")
    sample(page, 0)
    page.get_by_role("button", name="Ask").click()
    until(page, "document.querySelector('#policyA [data-is=polarity]').textContent === 'Negative'")
    assert part(page, "score").inner_text() == "" and "words" in reasons(page)
    page.keyboard.press("Escape")
    page.wait_for_selector("body:not([data-busy])", state="attached")
    assert page.locator("#said").inner_text() == "Stopped." and part(page, "alert").inner_text() == ""
    assert page.get_by_role("button", name="Ask").is_enabled()


@pytest.mark.parametrize("model", ["plain", "whole"])
def test_any_server_is_asked_our_question(visit, server, model):
    page = visit(model=model)
    sample(page)
    page.locator("#low").fill("-3")
    page.locator("#high").fill("3")
    asked(page)
    body = server.asked[0]
    assert "show_prompt" not in body and [one["type"] for one in body["messages"][0]["content"]] == [
        "video_url",
        "text",
    ]
    text = body["messages"][0]["content"][1]["text"]
    assert "<score>-3 to 3</score>" in text and text.endswith("\nWords: The game was wonderful.")
    assert reasons(page) == REASONS and part(page, "text").text_content() == TEXT
    assert part(page, "dial").get_attribute("aria-label") == "score -1.2, of -3 to 3"
    assert part(page, "seen").inner_text().split() == ["sent", "a", "video,", "words"]


def test_frames_and_sound_for_servers_that_take_no_video(visit, server):
    page = visit(model="plain")
    sample(page)
    page.locator("#sent").select_option("both")
    asked(page)
    *images, sound, _ = server.asked[0]["messages"][0]["content"]
    assert len(images) == 8 and all(one["image_url"]["url"].startswith("data:image/jpeg;base64,") for one in images)
    with wave.open(io.BytesIO(base64.b64decode(sound["input_audio"]["data"]))) as heard:
        assert (heard.getframerate(), heard.getnchannels(), heard.getsampwidth()) == (16000, 1, 2)
        assert 1.1 < heard.getnframes() / 16000 < 1.4 and max(heard.readframes(heard.getnframes())) > 0
    assert page.trouble == []


def test_a_policy_gets_what_it_takes(visit, server):
    server.modalities = ["text", "audio"]
    page = visit()
    sample(page)
    asked(page)
    assert [one["type"] for one in server.asked[0]["messages"][0]["content"]] == ["input_audio", "text"]
    server.modalities = ["text"]
    page.reload()
    until(page, "document.querySelector('#policyA [data-is=about]').textContent")
    sample(page)
    page.locator("#words").fill("")
    asked(page)
    assert part(page, "alert").inner_text() == "The policy takes no part of this clip: it takes text."
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", STATUSES)
def test_statuses_are_told_in_words(visit, status):
    page = visit(model=status)
    sample(page)
    asked(page)
    told = part(page, "alert").inner_text()
    words = {"413": "too large", "429": "ask again in 7 s", "404": "no such model", "504": "took too long"}
    assert words.get(status, f"reason of {status}") in told and "undefined" not in told


@pytest.mark.parametrize(
    "model, told",
    [
        ("broken", "The answer ended before it was complete."),
        ("prose", NOTHING_READ),
    ],
)
def test_answers_that_are_none(visit, model, told):
    page = visit(model=model)
    sample(page)
    asked(page)
    assert part(page, "alert").inner_text() == told
    text = part(page, "text").text_content()
    assert text == "They sound glad." if model == "prose" else 40 < len(text) < len(TEXT) and TEXT.startswith(text)


def test_what_is_missing_is_told(visit, server):
    page = visit()
    asked(page)
    assert part(page, "alert").inner_text() == "Choose a clip, or write what is said."
    page.locator("#file").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no clip"})
    assert page.locator("#said").inner_text() == "notes.txt is no video, sound or picture."
    page.locator("#file").set_input_files({"name": "torn.mp4", "mimeType": "video/mp4", "buffer": b"\0" * 99})
    until(page, "document.getElementById('facts').textContent.includes('torn.mp4 ·')")
    assert "no sound that this browser can read" in page.locator("#facts").inner_text()
    sample(page)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    part(page, "address").fill("http://127.0.0.1:9/v1")
    part(page, "address").dispatch_event("change")
    until(page, "document.querySelector('#policyA [data-is=alert]').textContent")
    assert "Nothing answers at http://127.0.0.1:9/v1/models" in part(page, "alert").inner_text()


def test_a_token_is_asked_for_and_not_kept(visit, server):
    page = visit()
    server.token = True
    sample(page)
    asked(page)
    assert "wants a token" in part(page, "alert").inner_text()
    choose(page, "A", "emsa", token=TOKEN)
    asked(page)
    assert part(page, "alert").inner_text() == "" and part(page, "polarity").inner_text() == "Negative"
    assert TOKEN not in page.evaluate("JSON.stringify(localStorage)")


def test_a_server_that_compiles_is_waited_for(visit, server):
    page = visit()
    server.compiling = 1
    sample(page)
    asked(page)  # which, without a wait, would be told as a fault
    assert part(page, "alert").inner_text() == ""
    assert len(server.asked) == 2 and part(page, "polarity").inner_text() == "Negative"


def test_two_policies_side_by_side(visit, content):
    other = DemoServer(content)
    page = visit()
    sample(page)
    page.locator("#two").check()
    choose(page, "B", "plain", address=f"{other.url}/v1")
    asked(page)
    assert [one["model"] for one in other.asked] == ["plain"]
    assert page.locator("#said").inner_text() == "Policy A: Negative, score −1.2. Policy B: Negative, score −1.2."
    left, right = (page.locator(f"#policy{side}").bounding_box() for side in "AB")
    assert left["x"] + left["width"] <= right["x"] and reasons(page, "B") == REASONS
    page.reload()
    assert page.locator("#policyB").is_visible() and part(page, "address", "B").input_value() == f"{other.url}/v1"
    other.shutdown()
    assert page.trouble == []


def test_the_webcam_is_recorded(visit, server):
    page = visit()
    page.get_by_role("button", name="Record").click()
    until(page, "document.getElementById('record').textContent.startsWith('Stop recording')")
    time.sleep(2)
    page.locator("#record").click()
    page.wait_for_selector("body[data-clip]", state="attached")
    assert page.locator("#frames canvas").count() == 8 and "640 × 480" in page.locator("#facts").inner_text()
    assert page.locator("#wave").get_attribute("aria-label").startswith("waveform of ")
    asked(page)
    url = server.asked[0]["messages"][0]["content"][0]["video_url"]["url"]
    assert url.startswith("data:video/webm;base64,")
    with av.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as container:
        assert len(list(container.decode(video=0))) > 5
    assert page.trouble == []


def test_a_dropped_clip(visit):
    page = visit()
    transfer = page.evaluate_handle("""() => {
        const data = document.querySelector("[data-sample]").dataset.sample.split(",")[1], all = new DataTransfer();
        const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
        all.items.add(new File([bytes], "mine.mp4", {type: "video/mp4"}));
        return all; }""")
    page.locator("#drop").dispatch_event("drop", {"dataTransfer": transfer})
    page.wait_for_selector("body[data-clip='mine.mp4']", state="attached")
    page.get_by_role("button", name="Take it away").click()
    assert page.locator("#clip").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_an_accessibility_checker_finds_nothing(visit, size, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(size, color_scheme=scheme, bypass_csp=True)  # the checker is a script of its own
    sample(page)
    page.locator("#two").check()
    asked(page)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    assert not found, [(one["id"], node["html"], node["failureSummary"]) for one in found for node in one["nodes"]]
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]


@pytest.mark.parametrize(
    "text, found",
    [
        (
            "The words are kind. Her smile is broad! The voice rises by 1.5 tones. So it is glad.",
            "words,face,voice,together",
        ),
        ("1. 文字：好。2. 表情：微笑。3. 声音：上升，快。4. 三者一致。", "words,face,voice,together"),
        ("He says it with a smile.", "together"),
        ("", ""),
    ],
)
def test_reasoning_by_modality(visit, text, found):
    page = visit()
    split = page.evaluate(f"Object.entries(reasonsOf({text!r})).filter(one => one[1].length).map(one => one[0]).join()")
    assert split == found


def test_a_model_of_an_earlier_visit_that_is_gone(visit):
    page = visit()
    page.evaluate("localStorage.setItem('emsa modelA', 'of yesterday')")
    page.reload()
    until(page, "document.querySelector('#policyA [data-is=about]').textContent")
    assert part(page, "model").input_value() == "emsa"


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """The address of our own server, started as a user starts it, with a random policy; it still compiles."""
    root = tmp_path_factory.mktemp("started")
    fields = {"policy": write_policy(root / "tiny"), "port": 0, "cache": "", "batch_size": 2, "max_tokens": 12}
    fields |= {"buckets": "(192,)", "max_seconds": 4.0, "decoders": 1, "name": "tiny"}
    command = [sys.executable, "-m", "emsa_jax.main", "--config=configs/serve.py"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    with open(root / "log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    while not (found := re.search(r"listening at (http://\S+);", (root / "log").read_text())):
        assert process.poll() is None, (root / "log").read_text()
        time.sleep(0.1)
    yield found[1]
    process.terminate()
    assert process.wait(30) == 0, (root / "log").read_text()


def test_our_own_server(browser, started):
    """From the moment at which it still compiles; the second address is the same server under another name, which for
    a browser is another site."""
    page = browser.new_context(viewport=SIZES["desktop"], permissions=["camera", "microphone"]).new_page()
    page.trouble = []
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.goto(started)
    until(page, "document.querySelector('#policyA [data-is=model]').value === 'tiny'", seconds=300)
    page.locator("#two").check()
    choose(page, "B", "tiny", address=started.replace("127.0.0.1", "localhost") + "/v1")
    sample(page)
    asked(page)
    for side in "AB":
        shown = part(page, "seen", side).inner_text()
        assert "4 frames" in shown and "1.2 s of sound" in shown and "The game was wonderful." in shown
        assert re.search(r"prompt\s+\d+ tokens, video at \d+ to \d+", shown)
        assert "Judge the speaker's sentiment from words, face, voice." in part(page, "prompt", side).text_content()
        assert part(page, "alert", side).inner_text() in ("", NOTHING_READ)  # random policies write what they like
        assert part(page, "text", side).text_content()
    assert part(page, "text", "A").text_content() == part(page, "text", "B").text_content()
    page.locator("#record").click()
    time.sleep(2)
    page.evaluate("delete document.body.dataset.clip")
    page.locator("#record").click()
    page.wait_for_selector("body[data-clip='webcam.webm']", state="attached")
    page.locator("#words").fill("")
    asked(page)
    assert part(page, "alert").inner_text() in ("", NOTHING_READ)
    assert "4 frames" in part(page, "seen").inner_text() and "of sound" in part(page, "seen").inner_text()
    assert page.trouble == []
