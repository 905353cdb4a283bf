"""Who may, how often, and from which pages."""

import asyncio
import re
import time

import pytest

from app.apikeys import Keys
from app.errors import InvalidSettings
from app.http import ratelimit
from app.routes import page
from app.settings import Settings
from tests import toys
from tests.app.test_predictions import assert_problem
from tests.conftest import serving


def test_the_log_says_whether_keys_are_asked_for_and_never_a_key(models):
    with serving(models, API_KEYS="secret-one,secret-two") as client:
        client.log.wait_for("requests must carry one of 2 API keys")
        assert "secret" not in client.log.text
    with serving(models, DEFAULT_MODEL="brightness", API_KEYS="one", ADMIN_KEY="key-of-the-admin") as client:
        client.log.wait_for("requests must carry the API key, or the admin key")
        told = client.post("/predict", files={"file": toys.plain(1)}, headers={"X-API-Key": "key-of-the-admin"})
        assert told.status_code == 200
    with serving(models) as client:
        client.log.wait_for("no API key is needed: anyone who can reach the port gets answers")


def test_each_key_has_its_own_rate(models):
    with serving(models, API_KEYS="one,two", RATE_LIMIT=2) as client:
        began, answered = time.monotonic(), 0
        while (limited := client.get("/models", headers={"X-API-Key": "one"})).status_code == 200:
            answered += 1
            assert answered <= 2 + 2 * (time.monotonic() - began)
        assert answered >= 2
        assert assert_problem(limited, 429, "rate_limited")["detail"] == "more than 2 requests a second; wait 1 s"
        assert limited.headers["retry-after"] == "1"
        client.log.wait_for("GET /models 429 .* key 7692c3ad: more than 2 requests a second")
        assert client.get("/models", headers={"Authorization": "Bearer two"}).status_code == 200
        assert all(client.get("/readyz").status_code == 200 for _ in range(10))
        time.sleep(1.1)
        assert client.get("/models", headers={"X-API-Key": "one"}).status_code == 200


def test_keys_need_not_be_utf_8(models):
    with serving(models, API_KEYS="cl\udce9", ADMIN_KEY="long enough, cl\udce9") as client:
        assert client.get("/models", headers={"X-API-Key": b"cl\xe9"}).status_code == 200
        assert client.get("/models", headers={"X-API-Key": b"cl\xc3\xa9"}).status_code == 401
        index = client.post("/v2/repository/index", headers={"X-API-Key": b"long enough, cl\xe9"})
        assert index.status_code == 200


def test_a_key_may_end_in_any_letter(models):
    """The last byte of this one would be a space in Latin-1."""
    with serving(models, API_KEYS="voilà") as client:
        for header in ({"X-API-Key": "voilà".encode()}, {"Authorization": "Bearer voilà".encode()}):
            assert client.get("/models", headers=header).status_code == 200


def test_each_worker_allows_its_share_of_the_rate_as_the_setting_says(models):
    assert "in all workers" in Settings.model_fields["rate_limit"].description
    with serving(models, RATE_LIMIT=3, WORKERS=2) as client:
        answers = (client.get("/models") for _ in range(1000))
        limited = next(answer for answer in answers if answer.status_code != 200)

    detail = assert_problem(limited, 429, "rate_limited")["detail"]
    assert detail == "more than 3 requests a second (1.5 to each of 2 workers); wait 1 s"


@pytest.mark.parametrize("keys", [{}, {"API_KEYS": "known"}, {"ADMIN_KEY": "known to the operator alone"}])
def test_a_key_that_is_not_known_brings_no_rate_of_its_own(models, keys):
    """Else whoever makes one up for each request would not be limited at all."""
    with serving(models, RATE_LIMIT=0.01, **keys) as client:
        answers = [client.get("/models", headers={"X-API-Key": f"made up {number}"}) for number in range(3)]

    assert [answer.status_code for answer in answers] == [401 if "API_KEYS" in keys else 200, 429, 429]


@pytest.mark.parametrize("path", ["/models", "/metrics"])
def test_wrong_keys_are_limited_and_shut_nobody_out_who_has_a_right_one(models, path):
    with serving(models, RATE_LIMIT=0.01, API_KEYS="a key that is right,another") as client:
        guesses = [client.get(path, headers={"X-API-Key": f"guess {number}"}) for number in range(5)]
        right = client.get(path, headers={"X-API-Key": "a key that is right"})

    assert_problem(guesses[0], 401, "unauthorized")
    assert_problem(guesses[-1], 429, "rate_limited")
    assert right.status_code == 200


def test_of_too_many_clients_those_heard_of_least_recently_are_forgotten(monkeypatch):
    async def answer(_, __, send):
        await send({"type": "http.response.start", "status": 200})

    async def ask(address):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": "/models", "headers": [], "client": (address, 1), "state": {}}
        await limit(scope, None, send)
        return sent[0]["status"]

    async def main(addresses):
        return [await ask(address) for address in addresses]

    monkeypatch.setattr(ratelimit, "_MOST_CLIENTS", 2)
    limit = ratelimit.RateLimit(answer, per_second=0.001, workers=1, keys=Keys(Settings()))

    assert asyncio.run(main("aba")) == [200, 200, 429]
    assert asyncio.run(main("cab")) == [200, 429, 200]  # for c, b was forgotten


def test_who_was_away_for_long_has_a_second_of_the_rate_and_who_is_refused_loses_nothing():
    limit = ratelimit.RateLimit(None, per_second=2, workers=1, keys=Keys(Settings()))

    waits = [limit._take(b"client", now) for now in (0, 1000, 1000, 1000, 1000, 1000.25, 1000.5, 1000.5, 1001)]

    assert waits == pytest.approx([0, 0, 0, 0.5, 0.5, 0.25, 0, 0.5, 0])


def test_short_keys_are_warned_of_and_not_shown(models):
    with serving(models, API_KEYS="hunter2,a key of sixteen or more") as client:
        client.log.wait_for("API keys of fewer than 16 characters: 1 of 2; they can be guessed")
        assert "hunter2" not in client.log.text
    with serving(models, API_KEYS="a key of sixteen or more,exactly sixteen.") as client:
        assert "guessed" not in client.log.text


def test_the_log_tells_what_is_set_and_which_key_asked_but_no_secret(models):
    keys, admin = ("a key of sixteen or more", "another key for the lab"), "known to the operator alone"
    with serving(models, API_KEYS=",".join(keys), ADMIN_KEY=admin, MIN_CONFIDENCE=0.5) as client:
        for key in (*keys, "one that is made up"):
            client.get("/models", headers={"X-API-Key": key})
        client.log.wait_for("GET /models 401")
        assert "MULTIPOOL_ADMIN_KEY=********** " in client.log.text
        assert " MULTIPOOL_MIN_CONFIDENCE=0.5 " in client.log.text
        assert "MULTIPOOL_QUEUE_SIZE" not in client.log.text
        assert re.findall(r"GET /models 200 .* key (\w+) ", client.log.text) == ["40209ac2", "d8ebe331"]
        assert not any(secret in client.log.text for secret in (*keys, admin, "made up"))


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {}),
        ({}, {"X-API-Key": "none is asked for"}),
        ({"API_KEYS": "key"}, {"X-API-Key": "key"}),
        ({"ADMIN_KEY": "an admin key that is long"}, {"X-API-Key": "an admin key that is long"}),
    ],
)
def test_whoever_watches_the_service_is_not_limited(models, settings, headers):
    with serving(models, RATE_LIMIT=0.01, **settings) as client:
        client.headers.update(headers)
        assert client.get("/models").status_code == 200
        assert client.get("/models").status_code == 429
        for path in ("/livez", "/readyz", "/metrics"):
            assert [client.get(path).status_code for _ in range(3)] == [200] * 3


def test_the_files_of_a_page_are_not_limited_for_there_are_many_of_them(models):
    with serving(models, RATE_LIMIT=0.01, API_KEYS="key") as client:
        files = [f"/web/{name}" for name in page.assets() if name.endswith((".js", ".css", ".svg"))]
        assert len(files) > 15
        assert [client.get(path).status_code for path in ("/", "/docs", *files)] == [200] * (2 + len(files))
        assert client.get("/models").status_code == 401
        assert client.get("/models").status_code == 429


def test_pages_of_the_origins_listed_may_call_and_no_others(models):
    with serving(models, CORS_ORIGINS="https://shop.example, https://lab.example", API_KEYS="key") as client:
        fields = "authorization, content-type, x-api-key, x-request-id"
        for method in ("GET", "POST"):
            asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": fields}
            preflight = client.options("/predict", headers={"Origin": "https://lab.example", **asked})
            assert preflight.status_code == 200
            assert preflight.headers["access-control-allow-origin"] == "https://lab.example"
        refused = client.options("/predict", headers={"Origin": "https://evil.example", **asked})
        assert "access-control-allow-origin" not in refused.headers
        said = assert_problem(refused, 400, "malformed_request")["detail"]
        assert said == "pages may not ask for this: origin not allowed; MULTIPOOL_CORS_ORIGINS lists the origins"
        answer = client.get("/models", headers={"Origin": "https://shop.example", "X-API-Key": "key"})
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.headers["access-control-expose-headers"] == "Retry-After, Server-Timing, X-Request-ID"
        assert client.get("/models", headers={"Origin": "https://shop.example"}).status_code == 401


def test_no_page_may_call_unless_it_is_said(server):
    answer = server.get("/models", headers={"Origin": "https://shop.example"})

    assert "access-control-allow-origin" not in answer.headers


def test_no_answer_is_to_be_taken_for_another_type(server):
    for path in ("/livez", "/models", "/nothing", "/docs"):
        assert server.get(path).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/livez", "/models", "/models/grey", "/openapi.json", "/metrics"])
def test_head_is_get_without_the_body(server, path):
    head, get = server.head(path), server.get(path)

    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("path", ["/livez", "/models", "/", "/metrics"])
def test_head_is_named_where_it_is_possible(server, path):
    response = server.post(path)

    assert "GET, HEAD" in assert_problem(response, 405, "method_not_allowed")["detail"]
    assert response.headers["allow"] == "GET, HEAD"


def test_head_is_not_possible_where_get_is_not(server):
    response = server.head("/predict")

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_the_document_says_what_key_is_asked_for(models):
    with serving(models, API_KEYS="key") as client:
        document = client.get("/openapi.json", headers={"X-API-Key": "key"}).json()

    bearer, key = (document["components"]["securitySchemes"][name] for name in ("bearer", "key"))
    assert (bearer["type"], bearer["scheme"]) == ("http", "bearer")
    assert (key["type"], key["in"], key["name"]) == ("apiKey", "header", "X-API-Key")
    assert document["security"] == [{"bearer": []}, {"key": []}]
    assert document["paths"]["/livez"]["get"]["security"] == document["paths"]["/readyz"]["get"]["security"] == []
    assert "security" not in document["paths"]["/predict"]["post"]


def test_a_key_that_is_too_short_is_not_shown(monkeypatch):
    monkeypatch.setenv("MULTIPOOL_ADMIN_KEY", "hunter2")

    with pytest.raises(InvalidSettings, match="MULTIPOOL_ADMIN_KEY") as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)
