"""The page when things go wrong or come late: no answer stands beside an image that it is not of."""

import json
import re
import shutil

import pytest

from tests import toys
from tests.browser import browser_needed, expect, give, opened, scene, settled, until
from tests.conftest import serving

pytestmark = browser_needed

PREDICT, EXPLAIN = re.compile(r"/predict\?"), re.compile(r"/explain\?")
ANY_STATUS = "the server responded with a status of|net::ERR"


def refusal(status, code, detail):
    """What a route is to answer instead of the service."""
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return {"status": status, "content_type": "application/problem+json", "body": json.dumps(body)}


def holding(page, pattern):
    """Hold the next request of this kind; returns a list that will have it."""
    held = []

    def hold(route):
        held.append(route)

    page.route(pattern, hold, times=1)
    return held


@pytest.fixture
def toy_page(chromium, server):
    with opened(chromium, server.base_url, troubles=ANY_STATUS) as page:
        page.wait_for_selector("#model option", state="attached")
        yield page


def test_the_answer_before_is_gone_while_the_next_image_is_asked_for(toy_page):
    give(toy_page, toys.plain(255), "white.png")
    settled(toy_page)
    assert toy_page.text_content("#label") == "bright"
    held = holding(toy_page, PREDICT)

    with toy_page.expect_request(PREDICT):
        give(toy_page, toys.plain(0), "black.png")

    for part in ("#label", "#bars", "#why", "#foot"):
        assert toy_page.locator(part).is_hidden()
    assert toy_page.get_by_text("Classifying").is_visible()
    held[0].continue_()
    expect(toy_page.locator("#label")).to_have_text("dark")
    assert toy_page.get_by_text("Classifying").is_hidden()


def test_an_image_that_takes_long_to_decode_does_not_come_back(toy_page):
    toy_page.evaluate(
        """() => {
            const decode = createImageBitmap;
            globalThis.createImageBitmap = (file) => {
                if (file.name !== "huge.png") return decode(file);
                return new Promise((done) => (globalThis.late = async () => done(await decode(file))));
            };
        }"""
    )
    give(toy_page, toys.plain(255), "huge.png")
    give(toy_page, toys.plain(0), "small.png")
    settled(toy_page)

    asked = []
    toy_page.on("request", lambda request: asked.append(request.url))
    toy_page.evaluate("late().then(() => new Promise(requestAnimationFrame))")

    drawn = toy_page.evaluate("document.querySelector('#preview').getContext('2d').getImageData(0, 0, 1, 1).data[0]")
    assert drawn == 0
    assert asked == []
    assert toy_page.text_content("#label") == "dark"


def test_maps_of_a_class_that_was_left_are_given_up(page):
    page.select_option("#model", "eurosat-separable")
    give(page, scene())
    settled(page)
    held = holding(page, EXPLAIN)
    with page.expect_request(EXPLAIN):
        page.locator(".bar").nth(1).click()

    with page.expect_event("requestfailed") as given_up:
        page.locator(".bar").nth(2).click()

    page.wait_for_selector(".map[width]")
    assert given_up.value == held[0].request
    assert page.text_content("#explained") == page.locator(".bar .name").nth(2).text_content()


def test_no_answer_stands_beside_the_pad_or_the_camera_before_it_is_asked_for(page):
    page.select_option("#model", "digits-regions")
    give(page, scene(), "scene.png")
    settled(page)
    for way in ("#draw", "#camera"):
        page.click(way)
        for part in ("#label", "#why", "#foot", "#given"):
            expect(page.locator(part)).to_be_hidden()
        page.click(way)
        expect(page.locator("#label")).to_be_visible()
        expect(page.locator("#given")).to_be_visible()

    page.click("#draw")
    page.focus("#pad")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#label")).to_be_visible()
    assert "drawing.png" in page.text_content("#curl")


def test_an_answer_stays_when_only_its_maps_are_refused(toy_page):
    toy_page.route(EXPLAIN, lambda route: route.fulfill(**refusal(429, "rate_limited", "come again in a second")))
    give(toy_page, toys.plain(255))

    toy_page.wait_for_selector("#message:not([hidden])")
    assert "Come again in a second" in toy_page.text_content("#message")
    assert toy_page.locator("#label").is_visible()

    toy_page.unroute(EXPLAIN)
    toy_page.get_by_role("button", name="Try again").click()
    settled(toy_page)
    assert toy_page.locator("#message").is_hidden()


def test_where_the_answer_would_be_it_says_that_there_is_none_for_what_is_no_image(toy_page):
    note = toy_page.get_by_text("There is no answer: the box above says why.")
    assert note.is_hidden()
    for before in (None, toys.plain(255)):
        if before:
            give(toy_page, before)
            settled(toy_page)
            assert note.is_hidden()
        give(toy_page, b"not an image", "notes.txt")
        expect(note).to_be_visible()
        assert "not an image of an accepted type" in toy_page.text_content("#message")
        assert toy_page.locator("#empty").is_hidden()

    toy_page.click("#camera")
    expect(note).to_be_hidden()  # what is before the camera was not asked for yet


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limited"), (503, "overloaded"), (504, "deadline_exceeded"), (0, "")]
)
def test_what_may_pass_can_be_tried_again(toy_page, status, code):
    give(toy_page, toys.plain(255))
    settled(toy_page)
    answer = refusal(status, code, f"it was {code}")
    toy_page.route(PREDICT, lambda route: route.fulfill(**answer) if status else route.abort("connectionrefused"))
    give(toy_page, toys.plain(0))

    toy_page.wait_for_selector("#message:not([hidden])")
    assert (f"It was {code}" if status else "cannot be reached") in toy_page.text_content("#message")
    for part in ("#label", "#why", "#empty"):
        assert toy_page.locator(part).is_hidden()

    toy_page.unroute(PREDICT)
    toy_page.get_by_role("button", name="Try again").click()
    expect(toy_page.locator("#label")).to_have_text("dark")
    assert toy_page.locator("#message").is_hidden()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 200, "content_type": "text/html", "body": "<title>Log in</title>"}, "has answered instead of it"),
        ({"status": 502, "content_type": "text/html", "body": "<title>Bad gateway</title>"}, "service answered 502."),
        ({"status": 504, "json": {"detail": ["too slow"]}}, "service answered 504."),
        ({"status": 503, "content_type": "application/json", "body": "null"}, "service answered 503."),
    ],
)
def test_what_a_proxy_answers_is_not_taken_for_a_service_that_is_away(toy_page, answer, words):
    toy_page.route(PREDICT, lambda route: route.fulfill(**answer))
    give(toy_page, toys.plain(255))

    expect(toy_page.locator("#message")).to_contain_text(words)

    toy_page.unroute(PREDICT)
    toy_page.get_by_role("button", name="Try again").click()
    expect(toy_page.locator("#label")).to_have_text("bright")


def test_a_service_that_was_away_when_the_page_came_can_be_tried_again(chromium, server):
    with opened(chromium, server.base_url, troubles=ANY_STATUS) as page:
        for way in ("asked", "given"):
            page.route("**/models", lambda route: route.abort("connectionrefused"))
            page.reload()
            page.wait_for_selector("#message:not([hidden])")
            assert "cannot be reached" in page.text_content("#message")
            page.unroute("**/models")

            if way == "asked":
                page.get_by_role("button", name="Try again").click()
                page.wait_for_selector("#model option", state="attached")
            give(page, toys.plain(255))

            expect(page.locator("#label")).to_have_text("bright")
            assert page.locator("#message").is_hidden()


def test_what_waits_for_the_key_is_answered_once_it_is_given(chromium, models):
    with (
        serving(models, DEFAULT_MODEL="brightness", API_KEYS="secret") as client,
        opened(chromium, client.base_url) as page,
    ):
        page.wait_for_selector("#key-card:not([hidden])")
        give(page, toys.plain(255, (16, 16)))
        page.fill("#key", "ключ")
        page.press("#key", "Enter")
        expect(page.locator("#message")).to_have_text("The service does not know this key.")
        page.fill("#key", "secret")
        page.press("#key", "Enter")
        settled(page)
        assert page.text_content("#label") == "bright"
        assert page.evaluate("document.activeElement.localName") == "main"  # not the top of the page

        with page.expect_response(PREDICT):  # which the refusal below is not meant for
            page.select_option("#model", "grey")
        expect(page.locator("#verdict")).to_be_visible()
        expect(page.locator("#why")).to_be_hidden()
        page.route(PREDICT, lambda route: route.fulfill(**refusal(401, "unauthorized", "no valid key")), times=1)
        give(page, toys.plain(0))
        page.wait_for_selector("#key-card:not([hidden])")
        assert page.locator("#label").is_hidden()
        page.press("#key", "Enter")
        expect(page.locator("#label")).to_have_text("dark")
        assert page.input_value("#model") == "grey"


@pytest.mark.parametrize(
    ("address", "asked", "there"), [("/", "/models$", "#model option"), ("/docs", "/openapi.json$", ".schema")]
)
def test_a_late_refusal_of_the_key_before_is_not_taken_for_one_of_the_right_key(
    chromium, models, address, asked, there
):
    with (
        serving(models, DEFAULT_MODEL="brightness", API_KEYS="secret") as client,
        opened(chromium, f"{client.base_url}{address}") as page,
    ):
        page.wait_for_selector("#key-card:not([hidden])")
        held = holding(page, re.compile(asked))
        for key in ("wrong", "secret"):
            page.fill("#key", key)
            with page.expect_request(re.compile(asked)):
                page.press("#key", "Enter")
        page.wait_for_selector(there, state="attached")

        held[0].continue_()
        page.evaluate("fetch('livez').then((response) => response.text())")  # by when the other is answered too

        assert page.locator("#key-card").is_hidden()
        assert page.locator("#message").is_hidden()


def test_what_was_cleared_while_its_answer_came_does_not_come_back(page):
    """Only what familiarity is compared with was still missing."""
    page.select_option("#model", "digits-regions")
    page.click("#draw")
    held = holding(page, re.compile("/models/digits-regions"))
    with page.expect_response(PREDICT):
        page.focus("#pad")
        for key in ("Space", "ArrowDown", "Space"):
            page.keyboard.press(key)
    until(lambda: held)

    with page.expect_event("requestfailed"):
        page.click("#clear")

    page.evaluate("new Promise(requestAnimationFrame)")
    assert page.locator("#verdict").is_hidden()
    assert page.text_content("#announce") == ""


@pytest.mark.parametrize("press", [".bar[aria-pressed=false]", "#save-picture"])
def test_a_key_that_is_not_valid_any_more_is_asked_for_again(chromium, models, press):
    with (
        serving(models, DEFAULT_MODEL="brightness", API_KEYS="secret") as client,
        opened(chromium, client.base_url) as page,
    ):
        page.fill("#key", "secret")
        page.press("#key", "Enter")
        page.wait_for_selector("#model option", state="attached")
        give(page, toys.plain(255))
        settled(page)
        page.route(EXPLAIN, lambda route: route.fulfill(**refusal(401, "unauthorized", "no valid key")), times=1)

        page.click(press)
        page.wait_for_selector("#key-card:not([hidden])")
        assert page.text_content("#message") == "The service does not know this key."
        page.fill("#key", "secret")
        page.press("#key", "Enter")

        settled(page)
        assert page.text_content("#label") == "bright"


def test_a_model_that_was_removed_leaves_the_list_of_an_old_tab(chromium, tmp_path):
    for name in ("gone", "there"):
        toys.publish(tmp_path, name)
    with serving(tmp_path, MODELS_POLL_S=0.05) as client, opened(chromium, client.base_url) as page:
        page.select_option("#model", "gone")
        shutil.rmtree(tmp_path / "gone")
        until(lambda: client.get("/models/gone").status_code == 404)

        give(page, toys.plain(255))
        page.wait_for_selector("#message:not([hidden])")
        assert "gone" in page.text_content("#message")
        until(lambda: page.locator("#model option").all_text_contents() == ["there"])
        page.get_by_role("button", name="Try again").click()

        settled(page)
        assert "model=there:1" in page.text_content("#curl")


def test_a_service_without_a_model_is_said_to_have_none(toy_page):
    listing = {"default": None, "default_version": None, "models": [], "refused": []}
    toy_page.route(re.compile("/models$"), lambda route: route.fulfill(json=listing), times=1)
    toy_page.reload()

    expect(toy_page.locator("#message")).to_contain_text("serves no model at the moment")

    toy_page.get_by_role("button", name="Try again").click()
    toy_page.wait_for_selector("#model option", state="attached")
    assert toy_page.locator("#message").is_hidden()


def test_what_fails_again_is_tried_again_as_it_was_asked_last(toy_page):
    toy_page.route(EXPLAIN, lambda route: route.abort(), times=2)
    give(toy_page, toys.plain(255))
    expect(toy_page.locator("#message")).to_contain_text("The maps are missing")
    # It is said in the same words, which nobody can see, after a look at whether the file can still be read.
    toy_page.evaluate(
        """() => {
            const read = Blob.prototype.arrayBuffer;
            globalThis.looked = new Promise((done) => (Blob.prototype.arrayBuffer = function () {
                const reading = read.call(this);
                reading.then(() => setTimeout(done));
                return reading;
            }));
        }"""
    )
    toy_page.locator(".bar", has_text="dark").click()
    toy_page.evaluate("looked")

    with toy_page.expect_request(EXPLAIN) as asked:
        toy_page.get_by_role("button", name="Try again").click()

    assert "label=dark" in asked.value.url


def test_a_file_that_changed_on_the_disk_is_not_taken_for_a_service_that_is_away(toy_page, tmp_path):
    file = tmp_path / "changing.png"
    file.write_bytes(toys.plain(255))
    toy_page.set_input_files("#file", file)
    settled(toy_page)
    file.write_bytes(toys.plain(0, (9, 9)))

    toy_page.select_option("#model", "grey")

    toy_page.wait_for_selector("#message:not([hidden])")
    assert "The file cannot be read" in toy_page.text_content("#message")


def test_what_a_file_is_the_bytes_say(toy_page):
    for name, media_type in (("photo.txt", "text/plain"), ("scan", "image/x-unheard-of")):
        toy_page.set_input_files("#file", {"name": name, "mimeType": media_type, "buffer": toys.plain(255)})
        expect(toy_page.locator("#curl")).to_contain_text(name)
        settled(toy_page)

    toy_page.set_input_files("#file", {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 words"})

    expect(toy_page.locator("#message")).to_contain_text("not an image of an accepted type")
    assert "header" not in toy_page.text_content("#message")
    assert toy_page.text_content("#nopreview").startswith("The browser cannot display")
    assert "may be able" not in toy_page.text_content("#nopreview")  # beside the message that says it is not


def test_what_is_no_file_is_said_to_be_none(toy_page):
    toy_page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.setData("text/plain", "https://example.org/a.jpg");
            document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
        }"""
    )

    toy_page.wait_for_selector("#message:not([hidden])")
    assert "no image file" in toy_page.text_content("#message")
