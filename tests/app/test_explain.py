"""``POST /explain``: maps over the image, as a picture or as numbers."""

import io
import re

import numpy as np
import pytest
from PIL import Image, ImageFont

from app import overlay
from app.schemas import Maps
from tests import toys
from tests.app.test_predictions import assert_problem
from tests.conftest import serving


@pytest.fixture
def ask(server):
    """Explain an image; ``accept`` is what is asked for."""
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)

    def send(accept="application/json", data=None, **parameters):
        sent = {"file": toys.save(image) if data is None else data}
        return server.post("/explain", params=parameters, files=sent, headers={"Accept": accept})

    return send


def test_maps_in_numbers_sum_to_what_predict_says(server, ask):
    response = ask(label="dark")
    body = response.json()
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    told = server.post("/predict", params={"explain": "true"}, files={"file": toys.save(image)}).json()["explanation"]

    Maps.model_validate(body)
    assert (body["model"], body["version"], body["label"]) == ("brightness", 2, "dark")
    assert body["bias"] == told["bias"]["dark"]
    assert body["logit"] == pytest.approx(told["logits"]["dark"], abs=1e-6)
    maps = np.array(body["maps"])
    assert maps.shape == (4, 8, 8)
    for share, branch, one in zip(body["branches"], told["branches"], maps, strict=True):
        assert share["name"] == branch["name"]
        assert share["contribution"] == pytest.approx(branch["contributions"]["dark"], abs=1e-6)
        assert one.sum() == pytest.approx(share["contribution"], abs=1e-5)
    stages = [stage.partition(";dur=")[0] for stage in response.headers["server-timing"].split(", ")]
    assert stages == ["read", "decode", "queue", "inference", "total"]


def test_all_that_a_figure_is_to_say_is_in_it(server, ask):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    predicted = server.post("/predict", files={"file": toys.save(image)}).json()
    served = server.get("/models/brightness").json()

    for label, probability in predicted["probabilities"].items():
        body = ask(label=label).json()
        assert body["probability"] == pytest.approx(probability, abs=1e-6)
        assert body["sha256"] == served["sha256"]
        assert body["input"] == served["input"] == {"height": 8, "width": 8, "channels": 3}
        assert body["grid"] == {"height": 8, "width": 8}


def test_the_most_probable_label_is_explained_unless_another_is_named(ask):
    assert ask(data=toys.plain(0)).json()["label"] == "dark"
    assert ask(data=toys.plain(255)).json()["label"] == "bright"


def test_of_classes_that_are_as_probable_the_one_that_is_answered_is_explained(tmp_path):
    """Logits that differ by less than what a probability can show."""
    toys.publish(tmp_path, "toy", data=toys.artifact(gain=1e-9))
    with serving(tmp_path) as client:

        def answer(url, **parameters):
            sent = {"file": toys.plain(255)}
            return client.post(url, params=parameters, files=sent, headers={"Accept": "application/json"}).json()

        predicted, explained = answer("/predict", explain="true"), answer("/explain")

    explanation = predicted["explanation"]
    assert explanation["logits"]["bright"] > explanation["logits"]["dark"]
    assert set(predicted["probabilities"].values()) == {0.5}
    assert explained["label"] == predicted["label"]
    alone = [branch["name"] for branch in explanation["branches"] if branch["alone"] == predicted["label"]]
    assert explanation["agreement"] == alone


def test_one_branch_alone(ask):
    body = ask(branch="top_right").json()

    assert [branch["name"] for branch in body["branches"]] == ["top_right"]
    (only,) = np.array(body["maps"])
    assert not only[4:].any()
    assert not only[:, :4].any()
    assert only[:4, 4:].any()


def test_npy(ask):
    array = np.load(io.BytesIO(ask("application/x-npy", label="bright").content), allow_pickle=False)

    assert (array.shape, array.dtype) == ((4, 8, 8), np.float32)
    np.testing.assert_allclose(array, ask(label="bright").json()["maps"], rtol=1e-6)


@pytest.mark.parametrize("accept", ["*/*", "image/*", "image/png, application/json;q=0.5", "text/html, */*;q=0.1"])
@pytest.mark.parametrize("model", ["brightness", "bands"])
def test_a_picture_unless_something_else_is_asked_for(ask, accept, model):
    data = None
    if model == "bands":
        buffer = io.BytesIO()
        np.save(buffer, np.random.default_rng(0).integers(0, 256, (16, 16, 13), np.uint8))
        data = buffer.getvalue()
    response = ask(accept, data, model=model)

    assert response.headers["content-type"] == "image/png"
    assert response.headers["vary"] == "Accept"
    with Image.open(io.BytesIO(response.content)) as image:
        assert min(image.size) > 400


@pytest.mark.parametrize("chosen", [{}, {"branch": "top_right"}])
def test_the_picture_says_a_sum_that_adds_up_to_the_logit(ask, chosen):
    body = ask(label="bright", **chosen).json()

    with Image.open(io.BytesIO(ask("image/png", label="bright", **chosen).content)) as image:
        title, _, terms = image.text["Description"].partition(" = ")

    found = {name: float(value) for value, name in re.findall(r"([+-][\d.]+) ([a-z_ ]+\b)", terms)}
    told = {branch["name"]: branch["contribution"] for branch in body["branches"]}
    rest = ["other branches"] if chosen else []
    head = f"bright: probability {body['probability']:.3f}, logit {body['logit']:+.2f}"
    assert title == head + ("; drawn: top_right" if chosen else "")
    assert list(found) == ["bias", *told, *rest]
    assert found["bias"] == pytest.approx(body["bias"], abs=0.005)
    assert {name: found[name] for name in told} == pytest.approx(told, abs=0.005)
    assert sum(found.values()) == pytest.approx(body["logit"], abs=0.005 * (len(found) + 1))


def said(values, names=("only",)):
    """What is to be drawn of maps ``[branches, h, w]``."""
    branches = [{"name": name, "contribution": 1.0} for name in names]
    told = {"label": "bright", "probability": 0.9, "logit": 12.5, "bias": 0.5}
    return {**told, "branches": branches, "maps": values}


def draw(maps, image=None):
    """The picture, ``uint8 [H, W, 3]``."""
    image = np.full((8, 8, 3), 200, np.uint8) if image is None else image
    with Image.open(io.BytesIO(overlay.picture(maps, image, (maps["label"],)))) as drawn:
        return np.asarray(drawn.convert("RGB"))


def test_what_is_said_stands_above_the_picture_and_inside_it():
    many = said(np.zeros((12, 4, 4), np.float32), [f"a_branch_with_a_long_name_{number}" for number in range(12)])

    def ink(maps):
        dark = draw(maps).mean(2) < 128
        above = dark[: len(dark) - 384 - 16]
        assert not above[:, :8].any()
        assert not above[:, -8:].any()
        return above

    few = {**many, "logit": 1.5, "branches": many["branches"][:1]}
    assert ink(many).shape[0] > ink(few).shape[0]  # more to say, in more lines
    assert ink(many)[32:].sum() > 3 * ink(few)[32:].sum() > 0


def test_labels_are_drawn_in_letters_that_the_font_has_or_as_numbers_and_said_as_they_are(tmp_path):
    """Pictures of two models that differ in their labels alone are the same."""
    drawn_as = {
        "Flüsse & Straßen": "Flusse & Strassen",
        "Łódź – Ærø": "Lodz - Aero",
        "‘90°…’": "‘90°...’",
        "Αθήνα": "class 3",
        "Лес 1": "class 4",  # not 1, which the next one would be as well
        "Поле 1": "class 5",
        "قطة": "class 6",
        "हिन्दी": "class 7",
        "🐱": "class 8",
        "two\nlines": "class 9",
        "\u0301": "class 10",
        "Bär": "class 11",  # not Bar, which the next one is
        "Bar": "class 12",
    }
    toys.publish(tmp_path, "odd", data=toys.artifact(labels=tuple(drawn_as)))
    toys.publish(tmp_path, "plain", data=toys.artifact(labels=tuple(drawn_as.values())))
    with serving(tmp_path, DEFAULT_MODEL="odd") as client:

        def picture(model, label):
            parameters = {"model": model, "label": label}
            response = client.post("/explain", params=parameters, files={"file": toys.plain(1)})
            with Image.open(io.BytesIO(response.content)) as image:
                return np.asarray(image.convert("RGB")).tobytes(), image.text["Description"]

        for label, plain in drawn_as.items():
            (odd, said), (expected, said_of_plain) = picture("odd", label), picture("plain", plain)
            assert odd == expected
            assert said == said_of_plain.replace(plain, label, 1)


def test_every_letter_that_is_drawn_is_one_that_the_font_has():
    font = ImageFont.load_default(14)
    box = font.getmask("\uffff")

    assert box.getbbox()
    for letter in overlay._LETTERS:
        assert bytes(font.getmask(letter)) != bytes(box)


@pytest.mark.parametrize("largest", [0.0594, 5, 1234567, 1.2e-7])
@pytest.mark.parametrize("size", [(8, 8), (4, 32), (32, 4)])
def test_nothing_of_the_legend_is_cut_off(largest, size):
    values = np.full((1, 2, 2), largest, np.float32)

    dark = draw(said(values), np.full((*size, 3), 200, np.uint8)).min(2) < 200

    assert dark.any()
    assert not dark[:, -15:].any()  # the margin is free


def test_the_picture_says_the_unit_and_the_grid(ask):
    with Image.open(io.BytesIO(ask("image/png").content)) as image:
        assert image.text["Description"].endswith("colour: logit per cell, 8 by 8 cells")


def test_a_cell_is_drawn_as_it_is_and_where_it_is():
    """Half of the map is zero: none of the other half's colour is drawn there."""
    values = np.zeros((1, 4, 4), np.float32)
    values[:, :, 2:] = 1

    drawn = draw(said(values))[-100, 16 + 384 + 16 :][:384]

    assert (drawn[:192] == drawn[0]).all()
    assert (drawn[192:] == drawn[-1]).all()
    assert (drawn[0] != drawn[-1]).any()


def test_colours_can_be_read_by_the_legend_over_any_image():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 1), np.uint8)
    values = np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16)

    drawn = np.asarray(overlay.blend(overlay.background(image, (16, 16)), values, 1)).astype(float)

    legend = np.linspace(-1, 1, 1001)
    distance = np.abs(drawn[..., None, :] - overlay.colours(legend)).sum(-1)
    assert np.abs(legend[distance.argmin(-1)] - values).max() < 0.15
    assert np.ptp(drawn[np.abs(values) < 0.1], axis=0).min() > 15  # and yet the image is seen


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=1", "image/png;q=0", "nonsense", "a/b/c,,"])
def test_what_cannot_be_made(ask, accept):
    detail = assert_problem(ask(accept), 406, "not_acceptable")["detail"]
    assert detail.startswith("the header Accept asks for none of image/png, application/json and application/x-npy;")


@pytest.mark.parametrize(("parameter", "value"), [("label", "grey"), ("label", ""), ("branch", "x"), ("colour", "red")])
def test_a_bad_parameter_is_named(ask, parameter, value):
    assert parameter in assert_problem(ask(**{parameter: value}), 422, "invalid_parameter")["detail"]


@pytest.mark.parametrize("chosen", [{"label": "grey"}, {"branch": "x"}])
def test_a_class_or_branch_that_there_is_not_is_found_before_the_image_is_looked_at(ask, chosen):
    assert_problem(ask(data=b"no image", **chosen), 422, "invalid_parameter")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("colour=red", "'colour': there is no such parameter; there are model, label, branch"),
        ("model=", "'model': it takes text in UTF-8 of at least one character, not ''"),
        ("label=dark&label=bright", "'label': it is given 2 times; give it once"),
    ],
)
def test_parameters_are_refused_in_the_words_of_predict(server, query, words):
    response = server.post(f"/explain?{query}", files={"file": toys.plain(1)})

    assert assert_problem(response, 422, "invalid_parameter")["detail"] == f"query parameter {words}"


def test_an_image_that_cannot_be_used(ask):
    assert_problem(ask(data=b"GIF89a"), 422, "undecodable_image")


def test_a_model_without_maps_is_never_explained(ask):
    for data in (toys.plain(1), b"no image at all"):  # it is refused before the image is looked at
        problem = assert_problem(ask(model="grey", data=data), 422, "invalid_parameter")

        assert "carries no maps" in problem["detail"]


def test_colours_say_for_against_and_nothing():
    values = np.array([[1, 0, -1]], np.float32).repeat(3, 0)
    image = np.full((3, 3, 3), 200, np.uint8)

    grey = overlay.background(image, (30, 30))
    drawn = np.asarray(overlay.blend(grey, values, 1)).astype(int)

    left, middle, right = drawn[15, 2], drawn[15, 14], drawn[15, 27]
    assert left[0] - left[2] > 80
    assert np.ptp(middle) <= 12
    assert right[2] - right[0] > 80


def test_beside_the_map_the_image_is_shown_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)

    drawn = draw(said(np.zeros((1, 2, 2), np.float32)), image)

    shown = drawn[-16 - 384 : -16, 16 : 16 + 384]
    np.testing.assert_array_equal(shown[24::48, 24::48], image)
