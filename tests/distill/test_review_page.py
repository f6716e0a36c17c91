"""The review page in a real browser: fifty decisions by keyboard, two reviewers at once, a reload in the middle."""

import re
import time
from pathlib import Path

import pytest

from emsa_jax.answers.recorded_traces import read_record

pytestmark = pytest.mark.browser


@pytest.fixture
def site(world, tmp_path):
    """The job itself, started as a user starts it, on 60 traces; its address."""
    data, served = world(60)
    log = tmp_path / "log"
    fields = {"teacher.url": served.url, "teacher.model": "m"}
    assert world.start(world.job("distill", tmp_path / "out", data, **fields), log).wait() == 0, log.read_text()
    command = [part for part in world.job("review", "", data, traces=tmp_path / "out") if "config.out=" not in part]
    process = world.start(command, tmp_path / "review")
    while not (found := re.search(r"http://\S+", (tmp_path / "review").read_text())):
        assert process.poll() is None, (tmp_path / "review").read_text()
        time.sleep(0.1)
    yield found[0]
    world.kill(process)


@pytest.fixture
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def reviewer(browser, url, name, problems):
    page = browser.new_context().new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            problems.append(request.url) if not request.url.startswith((url.split("?")[0], "data:")) else None
        ),
    )
    page.goto(f"{url}&by={name}")
    ready(page)
    return page


def ready(page):
    page.wait_for_selector("body[data-id]:not([data-busy])", state="attached")


def shown(page):
    return page.evaluate("document.body.dataset.id")


def press(page, key):
    """Presses a key and waits until what it did is done."""
    page.keyboard.press(key)
    ready(page)


def decisions(out):
    return [row for row in read_record(Path(out) / "record.jsonl") if row["kind"] == "decision"]


def test_fifty_decisions_by_two_reviewers(site, browser, tmp_path):
    problems, expected = [], {}
    ada, bob = (reviewer(browser, site, name, problems) for name in ("ada", "bob"))
    assert shown(ada) != shown(bob)
    assert ada.evaluate("document.getElementById('frames').children.length") == 2
    for n in range(25):
        for name, page in (("ada", ada), ("bob", bob)):
            id = shown(page)
            assert id not in expected, "shown to both, or again"
            if n % 5 == 0:
                page.keyboard.press("e")
                page.keyboard.press("Control+Home")
                page.evaluate("""() => { const text = document.getElementById("answer");
                    text.value = text.value.replace("</think>", " It is plain.</think>"); }""")
                press(page, "Control+Enter")
                expected[id] = (name, "edited")
            elif n % 5 == 1:
                press(page, "r")
                expected[id] = (name, "rejected")
            elif n % 5 == 2:
                press(page, "2")
                expected[id] = (name, "rejected")
            else:
                press(page, "a")
                expected[id] = (name, "accepted")
            assert id in page.text_content("#said")
        if n == 12:  # in the middle: what each had is there again, and nothing is lost
            for page in (ada, bob):
                before = shown(page)
                page.reload()
                ready(page)
                assert shown(page) == before
    rows = decisions(tmp_path / "out")
    assert {row["id"]: (row["by"], row["verdict"]) for row in rows} == expected and len(rows) == 50
    assert all(row["answer"].count("It is plain.") == (row["verdict"] == "edited") for row in rows)
    assert {row["reason"] for row in rows if row["verdict"] == "rejected"} == {"", "does not follow"}
    assert problems == []


def test_back_skip_undo_and_a_text_that_cannot_be_kept(site, browser, tmp_path):
    problems = []
    page = reviewer(browser, site, "ada", problems)
    first = shown(page)
    press(page, "n")
    second = shown(page)
    assert second != first and decisions(tmp_path / "out") == []
    press(page, "p")
    assert shown(page) == first
    page.keyboard.press("e")
    page.keyboard.type("a r n ")  # letters in the text are letters
    assert decisions(tmp_path / "out") == []
    press(page, "Control+Enter")
    assert "not saved: parse: text stands outside the tags" in page.text_content("#said") and shown(page) == first
    page.keyboard.press("Escape")
    press(page, "a")
    assert [row["verdict"] for row in decisions(tmp_path / "out")] == ["accepted"]
    press(page, "p")  # what was decided can be decided anew
    assert shown(page) == first and "accepted by ada" in page.text_content("#history")
    press(page, "r")
    assert [row["verdict"] for row in decisions(tmp_path / "out")] == ["accepted", "rejected"]
    assert [text for text in problems if "422" not in text] == []


def test_somebody_was_faster(site, browser, tmp_path):
    problems = []
    ada, bob = (reviewer(browser, site, name, problems) for name in ("ada", "bob"))
    taken = shown(ada)
    bob.evaluate(f"step(async () => show(await ask('/api/item?' + query({{id: {taken!r}}}))), '')")
    ready(bob)
    assert shown(bob) == taken
    press(ada, "r")
    press(bob, "a")
    assert "not saved: ada decided meanwhile: rejected" in bob.text_content("#said")
    assert [(row["by"], row["verdict"]) for row in decisions(tmp_path / "out")] == [("ada", "rejected")]


def test_the_page_is_closed_to_others(site, browser, tmp_path):
    """Without the token, and from another host name: a page that points its own name at this machine."""
    page = browser.new_page()
    assert page.goto(site.split("?")[0]).status == 403
    elsewhere = browser.new_page()
    assert elsewhere.goto(site.replace("127.0.0.1", "localhost")).status == 200
    assert elsewhere.goto(site.replace("127.0.0.1", "reviews.localhost")).status == 403  # resolves to this machine
    assert decisions(tmp_path / "out") == []


def test_it_can_be_used_without_seeing_it(site, browser):
    from axe_playwright_python.sync_playwright import Axe

    page = reviewer(browser, site, "ada", [])
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_server_that_is_gone_loses_nothing(site, browser, tmp_path):
    page = reviewer(browser, site, "ada", [])
    page.route("**/api/decide", lambda route: route.abort())
    id = shown(page)
    press(page, "a")
    assert "not saved" in page.text_content("#said") and shown(page) == id
    page.unroute("**/api/decide")
    press(page, "a")
    assert [row["id"] for row in decisions(tmp_path / "out")] == [id]
