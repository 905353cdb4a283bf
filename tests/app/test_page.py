"""The page in a real browser: what it shows, that it is accessible, and that it asks no one else for anything."""

import json
import re
from pathlib import Path

import pytest

from app import overlay
from app.routes.page import HEADERS, assets
from tests import toys
from tests.browser import browser_needed, give, opened, scene, settled, until
from tests.conftest import ROOT, serving

# The files


def test_every_file_is_served_with_headers_that_keep_it_to_itself(server):
    for path in ("/", "/docs", *(f"/web/{name}" for name in assets())):
        response = server.get(path)
        assert response.status_code == 200
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        assert response.headers["content-type"].partition(";")[0] in {
            "text/html",
            "text/javascript",
            "text/css",
            "image/svg+xml",
        }
        again = server.get(path, headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert server.head(path).status_code == 200
    assert server.get("/web/../settings.py").status_code == 404
    assert server.get("/web/nothing.js").status_code == 404
    refused = server.post("/")
    assert refused.status_code == 405
    assert (
        refused.json()["detail"] == "POST is not possible here; use GET, HEAD; images are classified by POST /predict"
    )


def test_no_file_names_another_host():
    for name, asset in assets().items():
        text = asset.content.decode().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|//[a-z]+\.|innerHTML|eval\(", text), name


def test_the_colours_are_those_of_the_pictures():
    table = re.search(r"COLOURS = \[(.*?)\];", assets()["colours.js"].content.decode(), re.DOTALL)[1]

    assert re.findall(r"\[(\d+), (\d+), (\d+)\]", table) == [tuple(map(str, colour)) for colour in overlay.COLOURS]


def test_the_files_go_into_the_wheel():
    listed = (ROOT / "pyproject.toml").read_text()

    assert 'app = ["web/*"]' in listed
    assert {path.name for path in Path(overlay.__file__).with_name("web").iterdir()} == set(assets())


# The page


@browser_needed
def test_an_uploaded_image_is_answered_and_explained(page, published):
    page.select_option("#model", "eurosat-regions")
    give(page, scene())
    settled(page)

    told = published.post(
        "/predict", params={"model": "eurosat-regions", "explain": "true"}, files={"file": scene()}
    ).json()
    assert page.text_content("#label") == told["label"]
    bars = page.locator(".bar")
    assert bars.locator(".name").all_text_contents() == list(told["probabilities"])[:5]
    assert page.locator(".branch").count() == 4
    shares = [branch["contributions"][told["label"]] for branch in told["explanation"]["branches"]]
    shown = page.locator(".branch .for .number").all_text_contents()
    assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(shares, abs=0.006)
    assert page.locator(".step").count() == 6
    assert "held out in training" in page.text_content("#familiar-words")
    assert re.search(r"decode [\d.]+ ms", page.text_content("#stage-words"))
    assert "--data-binary @image.png" in page.text_content("#curl")
    page.click("#more")
    assert page.locator(".bar").count() == 10


@browser_needed
def test_maps_are_drawn_and_another_class_has_others(page):
    page.select_option("#model", "eurosat-separable")
    give(page, scene())
    settled(page)

    pixels = "Array.from(document.querySelectorAll('.map'), (map) => map.toDataURL())"
    winner = page.evaluate(pixels)
    assert len(set(winner)) == 4
    page.locator(".bar").nth(1).click()
    until(lambda: not set(page.evaluate(pixels)) & set(winner))
    assert page.locator(".bar").nth(1).get_attribute("aria-pressed") == "true"
    assert page.text_content("#explained") == page.locator(".bar .name").nth(1).text_content()


@browser_needed
def test_drawing_by_mouse_and_by_keyboard(page):
    page.select_option("#model", "digits-regions")
    page.click("#draw")
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.15)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.85, steps=8)
    page.mouse.up()
    settled(page)
    assert page.text_content("#label") == "1"

    page.click("#clear")
    assert page.locator("#verdict").is_hidden()
    page.focus("#pad")
    page.keyboard.press("Space")
    for _ in range(8):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    settled(page)


@browser_needed
def test_the_features_stay_visible_when_the_evening_makes_the_page_dark(page):
    give(page, scene())
    settled(page)
    brightest = """Array.from(document.querySelectorAll(".strip"), (strip) => {
        const copy = new OffscreenCanvas(strip.width, 1).getContext("2d", {willReadFrequently: true});
        copy.drawImage(strip, 0, 0);
        return Math.max(...copy.getImageData(0, 0, strip.width, 1).data.filter((_, i) => i % 4 === 0));
    })"""
    assert max(page.evaluate(brightest)) < 100  # dark on light

    page.emulate_media(color_scheme="dark")

    until(lambda: min(page.evaluate(brightest)) > 200)


@browser_needed
def test_switching_the_model_asks_again(page):
    give(page, scene())
    settled(page)
    assert page.locator("#draw").is_visible()

    with page.expect_response(re.compile("predict")) as answered:
        page.select_option("#model", "eurosat-regions")

    assert answered.value.json()["model"] == "eurosat-regions"
    assert page.locator("#draw").is_hidden()
    until(lambda: len(page.locator(".bar .name").first.text_content()) > 1)


@browser_needed
def test_dropped_and_pasted_images(page):
    for kind in ("drop", "paste"):
        page.evaluate(
            """([kind, bytes]) => {
                const files = new DataTransfer();
                files.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, {type: "image/png"}));
                const event = kind === "drop" ? new DragEvent(kind, {dataTransfer: files, bubbles: true})
                    : new ClipboardEvent(kind, {clipboardData: files, bubbles: true});
                document.body.dispatchEvent(event);
            }""",
            [kind, list(scene())],
        )
        until(lambda name=f"{kind}.png": name in page.text_content("#curl"))
    settled(page)


@browser_needed
def test_a_picture_from_the_camera(page):
    page.click("#camera")
    until(lambda: page.evaluate("document.querySelector('#video').videoWidth") > 0)
    page.click("#shoot")
    settled(page)

    assert "camera.jpg" in page.text_content("#curl")
    assert page.locator("#preview").is_visible()
    assert page.evaluate("document.querySelector('#video').srcObject") is None


@browser_needed
def test_a_broken_file_is_answered_in_words(page):
    give(page, scene())
    settled(page)

    give(page, scene()[:500], "broken.png")
    page.wait_for_selector("#message:not([hidden])")

    assert "damaged" in page.text_content("#message")
    assert page.locator("#message").get_attribute("role") == "alert"
    assert page.locator("#verdict").is_hidden()


@browser_needed
def test_a_model_that_cannot_be_explained_answers_all_the_same(chromium, server):
    with opened(chromium, server.base_url) as page:
        page.select_option("#model", "grey")
        give(page, toys.plain(255))
        page.wait_for_selector("#verdict:not([hidden])")

        assert page.text_content("#label") == "bright"
        assert page.locator("#why").is_hidden()


@browser_needed
def test_a_key_is_asked_for_and_sent(chromium, models):
    with (
        serving(models, DEFAULT_MODEL="brightness", API_KEYS="secret") as client,
        opened(chromium, client.base_url) as page,
    ):
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        page.wait_for_selector("#message:not([hidden])")
        page.fill("#key", "secret")
        page.press("#key", "Enter")
        page.wait_for_selector("#model option", state="attached")
        give(page, toys.plain(255))
        settled(page)

        assert page.text_content("#label") == "bright"
        assert "$KEY" in page.text_content("#curl")
        assert "secret" not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")


@browser_needed
def test_the_interface_is_described_without_asking_anyone_else(chromium, server):
    document = server.get("/openapi.json").json()
    with opened(chromium, f"{server.base_url}/docs") as page:
        page.wait_for_selector(".schema", state="attached")

        routes = page.locator(".route summary h3").all_text_contents()
        assert routes == [f"{method} {path}" for path, operations in document["paths"].items() for method in operations]
        assert page.locator(".schema h3").all_text_contents() == list(document["components"]["schemas"])
        page.locator(".route summary").first.click()
        shown = page.locator(".route").first.inner_text()
        predict = document["paths"]["/predict"]["post"]
        for parameter in predict["parameters"]:
            assert parameter["name"] in shown
        for status, answer in predict["responses"].items():
            assert f"{status}\n" in shown
            assert all(code in shown for code in re.findall(r"`([a-z_]+)`", answer["description"]))
        for media_type in predict["requestBody"]["content"]:
            assert media_type in shown
        assert "integer ≥ 1, in query" in shown
        assert "boolean, in query, default false" in shown
        assert 'boolean or "base64", in query, default true' in shown
        page.locator(".route").first.get_by_role("link", name="Prediction").click()
        page.wait_for_selector("#Prediction[open]")
        assert "object of number, always" in page.locator("#Prediction").inner_text()
        page.locator("#BranchFeatures summary").click()
        assert "array of number or string in base64, always" in page.locator("#BranchFeatures").inner_text()


@browser_needed
def test_the_description_asks_for_the_key_that_the_service_wants(chromium, models):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    with (
        serving(models, API_KEYS="secret") as client,
        opened(chromium, f"{client.base_url}/docs#BranchFeatures", viewport={"width": 320, "height": 800}) as page,
    ):
        page.wait_for_selector("#key-card:not([hidden])")
        assert page.locator(".route").count() == 0
        assert [one["id"] for one in axe.Axe().run(page).response["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        page.wait_for_selector("#message:not([hidden])")
        assert page.text_content("#message") == "The service does not know this key."

        page.fill("#key", "secret")
        page.press("#key", "Enter")
        page.wait_for_selector("#BranchFeatures[open]")
        assert page.locator("#key-card").is_hidden()
        assert page.locator("#message").is_hidden()
        assert "secret" not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
        page.click("#document")
        page.wait_for_url(re.compile("^blob:"))
        assert json.loads(page.text_content("body"))["openapi"].startswith("3.1")


@browser_needed
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_the_description_stands_in_no_ones_way(chromium, server, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    with opened(chromium, f"{server.base_url}/docs", **options) as page:
        page.wait_for_selector(".schema", state="attached")
        for title in page.locator("summary").all():
            title.click()

        violations = axe.Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@browser_needed
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_stands_in_the_way_of_anyone(chromium, published, scheme, width):
    """axe-core finds nothing, and nothing is wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    with opened(chromium, published.base_url, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        page.wait_for_selector("#model option", state="attached")
        empty = axe.Axe().run(page).response["violations"]
        page.select_option("#model", "eurosat-regions")
        give(page, scene())
        settled(page)
        full = axe.Axe().run(page).response["violations"]

        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in (*empty, *full)] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
