"""Settings come from the environment; a bad one is said in one line."""

import os
import sys

import pytest

from app import apikeys, interpreter, values
from app.errors import InvalidSettings
from app.settings import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MULTIPOOL_")]:
        monkeypatch.delenv(name)


def test_the_defaults_are_those_of_the_contract():
    settings = Settings.load()

    assert str(settings.models_dir) == "models"
    assert (settings.device, settings.host, settings.port, settings.workers) == ("auto", "127.0.0.1", 8000, 1)
    assert (settings.max_batch_size, settings.max_files) == (32, 64)
    assert apikeys.read(settings) == ()


def test_values_are_read(monkeypatch):
    monkeypatch.setenv("MULTIPOOL_PORT", "9000")
    monkeypatch.setenv("MULTIPOOL_DEVICE", "cpu")
    monkeypatch.setenv("MULTIPOOL_DEFAULT_MODEL", "")

    settings = Settings.load()

    assert (settings.port, settings.device, settings.default_model) == (9000, "cpu", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVICE", "gpu"),
        ("PORT", "http"),
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("WORKERS", "0"),
        ("MAX_BATCH_SIZE", "0"),
        ("MAX_BATCH_DELAY_MS", "-1"),
        ("QUEUE_SIZE", "0"),
        ("REQUEST_TIMEOUT_S", "0"),
        ("REQUEST_TIMEOUT_S", "nan"),
        ("MAX_UPLOAD_BYTES", "10MB"),
        ("MAX_PIXELS", "1e18"),
        ("MAX_FILES", "none"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"MULTIPOOL_{name}", value)

    with pytest.raises(InvalidSettings, match=f"^MULTIPOOL_{name} = '{value}': ") as caught:
        Settings.load()

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DEVICE", "gpu", " = 'gpu': it takes auto, cuda or cpu"),
        ("PORT", "http", " = 'http': it takes a whole number from 0 to 65535"),
        ("MAX_UPLOAD_BYTES", "10MB", " = '10MB': it takes a whole number, at least 1"),
        ("MODELS_MEMORY_BYTES", "0", " = '0': it takes a whole number, at least 1"),
        ("MODELS_POLL_S", "-1", " = '-1': it takes a number from 0 to 3600"),
        ("WORKERS", "65", " = '65': it takes a whole number from 1 to 64"),
        ("MAX_BATCH_SIZE", "1025", " = '1025': it takes a whole number from 1 to 1024"),
        ("CACHED_ANSWERS", "-1", " = '-1': it takes a whole number from 0 to 10000000"),
        ("UPLOADS_MEMORY_BYTES", "0", " = '0': it takes a whole number, at least 1"),
        ("MAX_PIXELS", "178956971", " = '178956971': it takes a whole number from 1 to 178956970"),
        ("MAX_FILES", "0", " = '0': it takes a whole number from 1 to 10000"),
        ("MIN_CONFIDENCE", "1.1", " = '1.1': it takes a number from 0 to 1"),
        ("MAX_CONNECTIONS", "0", " = '0': it takes a whole number from 1 to 60000"),
        ("KEEP_ALIVE_S", "0", " = '0': it takes a whole number from 1 to 3600"),
        ("LAME_DUCK_S", "-1", " = '-1': it takes a number from 0 to 300"),
        ("SHUTDOWN_TIMEOUT_S", "-1", " = '-1': it takes a number from 0 to 3600"),
        ("RATE_LIMIT", "0", " = '0': it takes a number, at least 1e-06"),
        ("RATE_LIMIT", "inf", " = 'inf': it takes a number, at least 1e-06"),
        ("RATE_LIMIT", "nan", " = 'nan': it takes a number, at least 1e-06"),
        ("RATE_LIMIT", "1e-320", " = '1e-320': it takes a number, at least 1e-06"),  # the wait would be infinite
        ("REQUEST_TIMEOUT_S", "nan", " = 'nan': it takes a number above 0 and at most 3600"),
    ],
)
def test_what_a_setting_takes_is_said(monkeypatch, name, value, words):
    monkeypatch.setenv(f"MULTIPOOL_{name}", value)

    with pytest.raises(InvalidSettings) as caught:
        Settings.load()

    assert str(caught.value) == f"MULTIPOOL_{name}{words}"


def test_every_setting_can_say_what_it_takes():
    for schema in Settings.model_json_schema()["properties"].values():
        assert values.allowed(schema)


def test_an_unknown_name_is_named(monkeypatch):
    monkeypatch.setenv("MULTIPOOL_MODEL_DIR", "models")

    with pytest.raises(InvalidSettings, match="unknown setting MULTIPOOL_MODEL_DIR"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PROT", "; did you mean MULTIPOOL_PORT? the settings are listed by "),
        ("MODEL_DIR", "; did you mean MULTIPOOL_MODELS_DIR? the settings are listed by "),
        ("XYZZY", "; the settings are listed by "),
    ],
)
def test_the_nearest_name_is_suggested(monkeypatch, name, words):
    monkeypatch.setenv(f"MULTIPOOL_{name}", "1")

    with pytest.raises(InvalidSettings) as caught:
        Settings.load()

    assert str(caught.value) == f"unknown setting MULTIPOOL_{name}{words}'{interpreter.command()} -m app --help'"


@pytest.mark.parametrize(("prefix", "service"), [("MULTIPOOL", "multipool"), ("MULTIPOOL_ON_CPU", "multipool-on-cpu")])
def test_what_kubernetes_sets_for_a_service_of_our_name_is_told_from_a_mistake(monkeypatch, prefix, service):
    for name, value in {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP_ADDR": "10.0.0.1",
        "PORT_8000_TCP_PORT": "8000",
        "PORT_8000_TCP_PROTO": "tcp",
    }.items():
        monkeypatch.setenv(f"{prefix}_{name}", value)

    with pytest.raises(InvalidSettings) as caught:
        Settings.load()
    assert str(caught.value) == (
        f"{prefix}_SERVICE_HOST is no setting: Kubernetes sets it and others like it for the Service named "
        f"'{service}'; put 'enableServiceLinks: false' into the pod's spec, or give the Service another name"
    )


@pytest.mark.parametrize(
    ("executable", "command"),
    [("{here}/.venv/bin/python", ".venv/bin/python"), ("/elsewhere/my env/python", "'/elsewhere/my env/python'")],
)
def test_the_interpreter_is_called_as_from_the_current_folder(monkeypatch, tmp_path, executable, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", executable.format(here=tmp_path))

    assert interpreter.command() == command


def test_a_queue_that_cannot_hold_one_request(monkeypatch):
    monkeypatch.setenv("MULTIPOOL_QUEUE_SIZE", "10")

    with pytest.raises(
        InvalidSettings, match="MULTIPOOL_QUEUE_SIZE = 10 cannot be smaller than MULTIPOOL_MAX_FILES = 64"
    ):
        Settings.load()


def test_keys_come_from_the_environment_and_a_file(monkeypatch, tmp_path):
    file = tmp_path / "keys"
    file.write_text("# old\nthird # of the website\n\n fourth \t#\n#fifth\nsix#th\n")
    monkeypatch.setenv("MULTIPOOL_API_KEYS", "first, second")
    monkeypatch.setenv("MULTIPOOL_API_KEYS_FILE", str(file))

    settings = Settings.load()

    assert apikeys.read(settings) == (b"first", b"second", b"third", b"fourth", b"six#th")
    assert "first" not in repr(settings)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # the latter as some editors of Windows write it
def test_a_key_file_alone_is_enough(monkeypatch, tmp_path, encoding):
    (tmp_path / "keys").write_text("only\n", encoding)
    monkeypatch.setenv("MULTIPOOL_API_KEYS_FILE", str(tmp_path / "keys"))

    assert apikeys.read(Settings.load()) == (b"only",)


def test_a_short_admin_key_is_refused_and_not_repeated(monkeypatch):
    monkeypatch.setenv("MULTIPOOL_ADMIN_KEY", "hunter2")

    with pytest.raises(InvalidSettings, match=r"^MULTIPOOL_ADMIN_KEY needs at least 16 characters$"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("API_KEYS", "", "holds no key"),
        ("API_KEYS", ",", "holds no key"),
        ("API_KEYS", "  ", "holds no key"),
        ("API_KEYS_FILE", "", "holds no name of a file"),
        ("API_KEYS_FILE", "  ", "No such file"),
    ],
)
def test_an_empty_secret_does_not_open_the_service(monkeypatch, name, value, said):
    monkeypatch.setenv(f"MULTIPOOL_{name}", value)

    with pytest.raises(InvalidSettings, match=f"^MULTIPOOL_{name} .*{said}"):
        apikeys.read(Settings.load())


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff\xfe"])
def test_a_key_file_without_keys(monkeypatch, tmp_path, content):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("MULTIPOOL_API_KEYS_FILE", str(file))

    with pytest.raises(InvalidSettings, match="MULTIPOOL_API_KEYS_FILE"):
        apikeys.read(Settings.load())


def test_a_pipe_of_keys_is_not_waited_for(monkeypatch, tmp_path):
    os.mkfifo(tmp_path / "keys")
    monkeypatch.setenv("MULTIPOOL_API_KEYS_FILE", str(tmp_path / "keys"))

    with pytest.raises(InvalidSettings, match="keys': the file holds no key"):
        apikeys.read(Settings.load())


def test_a_file_of_keys_as_windows_writes_it(monkeypatch, tmp_path):
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    monkeypatch.setenv("MULTIPOOL_API_KEYS_FILE", str(tmp_path / "keys"))

    assert apikeys.read(Settings.load()) == (b"one", b"two")


@pytest.mark.parametrize("origins", ["*", "http://127.0.0.1:3000", "https://a.example, http://[::1]:8080", ""])
def test_origins_as_browsers_send_them(monkeypatch, origins):
    monkeypatch.setenv("MULTIPOOL_CORS_ORIGINS", origins)

    assert Settings.load().cors_origins == tuple(part.strip() for part in origins.split(",") if part)


@pytest.mark.parametrize(
    "origin",
    [
        *("foo", "null", "a.example:3000", "https://", "https://*.a.example", "https://a.example:x"),
        *("https://a.example/", "https://a.example/path", "HTTPS://a.example", "https://A.example"),
        *("https://a.example:443", "http://a.example:80"),
    ],
)
def test_an_origin_that_no_browser_sends_is_named(monkeypatch, origin):
    """It would never match, and the pages of that origin would be shut out without a word."""
    monkeypatch.setenv("MULTIPOOL_CORS_ORIGINS", f"https://good.example,{origin}")

    with pytest.raises(InvalidSettings, match=r"^MULTIPOOL_CORS_ORIGINS holds .*https://shop\.example") as caught:
        Settings.load()
    assert repr(origin) in str(caught.value)
