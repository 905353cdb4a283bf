"""The page, used all day: many files, long names, the keyboard alone, and answers taken away."""

import json
import re

import pytest

from tests import toys
from tests.browser import browser_needed, expect, give, opened, scene, settled, until
from tests.conftest import ROOT, serving

pytestmark = browser_needed

ARABIC, LONG = "قطة منزلية", "Pneumonoultramicroscopicsilicovolcanoconiosis_of_the_northern_hemisphere"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A service of models unlike those that come with the project."""
    root = tmp_path_factory.mktemp("odd")
    labels = (ARABIC, LONG, f"{LONG}_too", *(f"class {number}" for number in range(134)))
    toys.publish(root, "many", 1, toys.artifact(labels=labels))
    toys.publish(root, "many", 2, toys.artifact(labels=labels))
    toys.publish(root, "headless", 1, toys.artifact(head=False))
    toys.publish(root, "wide", 1, toys.artifact(8, 32))
    with serving(root, DEFAULT_MODEL="many:1") as client:
        yield client


@pytest.fixture
def odd_page(chromium, odd):
    with opened(chromium, odd.base_url, viewport={"width": 320, "height": 640}) as page:
        page.wait_for_selector("#model option", state="attached")
        yield page


def file(name, value):
    return {"name": name, "mimeType": "image/png", "buffer": toys.plain(value)}


def test_several_files_are_gone_through_one_by_one(odd_page):
    odd_page.set_input_files("#file", [file("a.png", 0), file("b.png", 255), file("c.png", 0)])
    settled(odd_page)
    assert "1 of 3" in odd_page.text_content("#given")
    assert "a.png" in odd_page.text_content("#given")

    odd_page.get_by_role("button", name="Next").click()
    expect(odd_page.locator("#given")).to_contain_text("2 of 3")
    expect(odd_page.locator("#curl")).to_contain_text("b.png")
    odd_page.get_by_role("button", name="Previous").click()
    odd_page.get_by_role("button", name="Previous").click()
    expect(odd_page.locator("#curl")).to_contain_text("c.png")

    give(odd_page, toys.plain(0), "alone.png")
    expect(odd_page.locator("#given")).to_have_text(re.compile("alone.png.*, 8 × 8 pixels"))
    assert odd_page.get_by_role("button", name="Next").is_hidden()


@pytest.mark.parametrize(
    ("asked", "shown"), [("headless", "headless:1"), ("many", "many:1"), ("many:2", "many:2"), ("", "many:1")]
)
def test_the_address_may_name_the_model(chromium, odd, asked, shown):
    with opened(chromium, f"{odd.base_url}/?model={asked}") as page:
        page.wait_for_selector("#model option", state="attached")

        assert f"{page.input_value('#model')}:{page.input_value('#version')}" == shown
        assert page.locator("#message").is_hidden()


@pytest.mark.parametrize("asked", ["nothing", "many:9", "<b>bold</b>"])
def test_an_address_with_a_model_that_is_not_served_says_so(chromium, odd, asked):
    with opened(chromium, f"{odd.base_url}/?model={asked}") as page:
        page.wait_for_selector("#model option", state="attached")

        expect(page.locator("#message")).to_contain_text(asked)
        expect(page.locator("#message")).to_contain_text("is not served; many:1 answers instead")
        page.set_input_files("#file", [file("a.png", 0)])
        settled(page)
        assert page.locator("#message").is_hidden()


def test_the_address_follows_the_choice(chromium, odd):
    with opened(chromium, f"{odd.base_url}/?model=wide&x=1#here") as page:
        page.wait_for_selector("#model option", state="attached")
        page.select_option("#model", "many")
        assert page.url == f"{odd.base_url}/?model=many&x=1#here"
        page.select_option("#version", "2")
        assert page.url == f"{odd.base_url}/?model=many:2&x=1#here"

        page.reload()
        page.wait_for_selector("#model option", state="attached")
        assert (page.input_value("#model"), page.input_value("#version")) == ("many", "2")


def test_the_page_says_in_plain_words_what_it_shows(odd_page):
    assert "appear here" in odd_page.text_content("#empty")
    assert "takes colour images, scaled to 8 × 8 pixels, and knows 137 classes" in odd_page.text_content("#facts")

    give(odd_page, toys.plain(0))
    settled(odd_page)

    assert "alone would choose this class" in odd_page.text_content("#agreement")
    first = odd_page.locator(".branch").first.locator(".votes").text_content()
    assert re.fullmatch(r"This branch alone would answer .+\. Without it, the answer would .+\.", first)


def test_many_long_and_foreign_names_can_be_read_on_a_small_screen(odd_page):
    give(odd_page, toys.plain(0))
    settled(odd_page)
    odd_page.click("#more")

    assert odd_page.locator(".bar").count() == 137
    cut = "(one) => one.scrollWidth > one.clientWidth"
    for names in (".bar .name", ".branch dt", ".step .name", "#label"):
        assert not [name.text_content() for name in odd_page.locator(names).all()[:12] if name.evaluate(cut)]
    assert odd_page.evaluate("document.documentElement.scrollWidth") <= 320
    assert odd_page.text_content("#label") == ARABIC
    assert odd_page.locator("#label").evaluate("(one) => getComputedStyle(one).direction") == "rtl"
    assert f"the score of \u2068{ARABIC}\u2069" in odd_page.text_content("#why-words")


def test_the_version_that_the_service_prefers_is_chosen(odd_page, odd):
    assert odd.get("/models").json()["default_version"] == 1
    assert odd_page.input_value("#version") == "1"
    odd_page.select_option("#model", "wide")
    odd_page.select_option("#model", "many")
    assert odd_page.input_value("#version") == "1"


def test_a_model_without_reasons_says_so_and_its_command_works(odd_page, odd):
    odd_page.select_option("#model", "headless")
    give(odd_page, toys.plain(255))
    odd_page.wait_for_selector("#verdict:not([hidden])")

    assert "cannot say why" in odd_page.text_content("#agreement")
    address = re.search(r"'(http.*)'", odd_page.text_content("#curl"))[1]
    assert odd.post(address, content=toys.plain(255), headers={"Content-Type": "image/png"}).status_code == 200
    assert odd_page.locator("#save-picture").is_hidden()
    with odd_page.expect_request(re.compile("predict")) as asked:
        give(odd_page, toys.plain(0))
    assert "explain=false" in asked.value.url  # it is not tried each time anew


def test_an_uncertain_answer_says_which_class_was_not_probable_enough(chromium):
    """A percentage beside "Uncertain" would read as how uncertain the answer is."""
    with (
        serving(ROOT / "models", MIN_CONFIDENCE="1", DEFAULT_MODEL="eurosat-regions") as service,
        opened(chromium, service.base_url) as page,
    ):
        page.wait_for_selector("#model option", state="attached")
        give(page, scene())
        settled(page)

        assert page.inner_text(".winner").strip() == "Uncertain"
        likeliest = page.locator(".bar .name").first.text_content()
        words = f"The most probable class is \u2068{likeliest}\u2069 (> 99.9 %), but it is not probable enough for this"
        assert page.text_content("#agreement") == f"{words} service."
        assert page.text_content("#announce") == page.text_content("#agreement")


def test_maps_have_the_shape_of_what_the_model_reads(odd_page):
    odd_page.select_option("#model", "wide")
    give(odd_page, toys.plain(0))
    settled(odd_page)

    box = odd_page.locator(".map").first.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(4, rel=0.05)


def test_by_the_keyboard_alone(page):
    page.focus("#drop")
    give(page, scene())
    settled(page)
    assert page.evaluate("document.activeElement.id") == "pick"

    second = page.locator(".bar").nth(1)
    second.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#explained")).to_have_text(second.locator(".name").text_content())
    assert second.evaluate("(bar) => bar === document.activeElement")

    page.focus("#camera")
    page.keyboard.press("Enter")
    until(lambda: page.locator("#shoot").is_visible())
    page.focus("#shoot")
    page.keyboard.press("Enter")
    expect(page.locator("#curl")).to_contain_text("camera.jpg")
    assert page.evaluate("document.activeElement.id") == "pick"


def test_the_keyboard_stays_where_it_was_when_a_button_goes(page):
    """A pasted image takes away the buttons of the files before it; the next press of Tab is not at the top."""
    page.set_input_files("#file", [file("a.png", 0), file("b.png", 255)])
    settled(page)
    page.focus("#next")
    paste(page, "alone.png")
    assert page.evaluate("document.activeElement.id") == "pick"

    page.route(re.compile(r"/predict\?"), lambda route: route.fulfill(status=429, json={"detail": "wait"}), times=1)
    give(page, scene(1))
    page.get_by_role("button", name="Try again").focus()
    paste(page, "other.png")
    assert page.evaluate("document.activeElement.localName") == "main"


def paste(page, name):
    """Paste an image where the keyboard is, and wait for its answer."""
    page.evaluate(
        """([name, bytes]) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
            document.activeElement.dispatchEvent(new ClipboardEvent("paste", {clipboardData: files, bubbles: true}));
        }""",
        [name, list(scene())],
    )
    expect(page.locator("#curl")).to_contain_text(name)


def test_a_double_click_starts_the_camera_once(page):
    page.evaluate(
        """() => {
            const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            globalThis.streams = [];
            navigator.mediaDevices.getUserMedia = async (wanted) => {
                streams.push(await ask(wanted));
                return streams.at(-1);
            };
        }"""
    )
    page.locator("#camera").dblclick()
    expect(page.locator("#video")).to_be_visible()
    page.evaluate("document.querySelector('#camera').dispatchEvent(new MouseEvent('click', {detail: 2}))")  # a late one
    assert page.locator("#video").is_visible()
    assert page.locator("#message").is_hidden()
    page.click("#camera")

    states = page.evaluate("streams.flatMap((stream) => stream.getTracks()).map((track) => track.readyState)")
    assert states == ["ended"]  # no lamp of a camera stays lit


def test_the_camera_can_be_put_away(page):
    page.click("#camera")
    until(lambda: page.locator("#video").is_visible())
    page.click("#camera")

    assert page.locator("#drop").is_visible()
    assert page.evaluate("document.querySelector('#video').srcObject") is None


def test_no_image_is_kept_once_it_is_drawn(page):
    page.evaluate(
        """() => {
            const decode = createImageBitmap;
            globalThis.decoded = [];
            globalThis.createImageBitmap = async (file) => {
                const bitmap = await decode(file);
                decoded.push(bitmap);
                return bitmap;
            };
        }"""
    )
    for number in range(3):
        give(page, scene(number), f"{number}.png")
        expect(page.locator("#curl")).to_contain_text(f"{number}.png")

    assert page.evaluate("decoded.map((bitmap) => bitmap.width)") == [0, 0, 0]


def test_answers_can_be_saved_as_they_came(page):
    page.select_option("#model", "digits-regions")
    give(page, (ROOT / "examples" / "digit.png").read_bytes(), "digit.png")
    settled(page)
    assert page.text_content("#probability") == "> 99.9 %"  # never certain, though float32 says 1

    with page.expect_download() as saved:
        page.click("#save-answer")
    assert saved.value.suggested_filename == "digit-digits-regions-4.json"
    body = json.loads(saved.value.path().read_text())
    assert body["label"] == "3"
    assert next(iter(body["probabilities"])) == "3"  # most probable first, as it came
    with page.expect_download() as saved:
        page.click("#save-picture")
    assert saved.value.suggested_filename == "digit-digits-regions-4.png"
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")


def test_the_command_is_copied_even_from_a_page_without_a_clipboard(chromium, published):
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(chromium, published.base_url, permissions=permissions) as page:
        give(page, scene())
        settled(page)
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
        page.click("#copy")

        expect(page.locator("#announce")).to_have_text("Copied")
        page.evaluate("delete navigator.clipboard")
        assert page.evaluate("navigator.clipboard.readText()") == page.text_content("#curl")
