"""What is to be put in front of the service and around it: run for real where it is installed, and in step."""

import configparser
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from app import errors, problems
from app.__main__ import EXIT_CODES
from app.settings import PREFIX, Settings
from model_export.console import invocation
from tests import toys
from tests.app.test_metrics import scrape
from tests.app.test_protocol import read_all
from tests.conftest import ROOT, free_port, serving, wait_for

DEPLOY = ROOT / "deploy"
HAPROXY = shutil.which("haproxy")
NGINX = shutil.which("nginx")
OPENSSL = shutil.which("openssl")
PROMTOOL = shutil.which("promtool")
SETPRIV = shutil.which("setpriv")
ONE_IN_TEN_NOT_READY = {
    "up": "1x60",
    "process_start_time_seconds": "-600x60",
    'multipool_requests_total{route="/predict",status="200"}': "0+90x60",
    'multipool_requests_total{route="/predict",status="503"}': "0+10x60",
    'multipool_problems_total{code="not_ready"}': "0+10x60",
}
LAST_RESORT_S = 5
"""What a worker gets beyond the lame duck and the shutdown time before it is killed."""

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@needs_haproxy
def test_haproxy_lets_nobody_in_from_outside(tmp_path):
    """However the path is written."""
    toys.publish(tmp_path / "models", "toy")
    with (
        serving(tmp_path / "models", ADMIN_KEY="an admin key that is long") as client,
        haproxy(tmp_path, client.base_url.port) as port,
    ):
        for path in ("/metrics", "/%6detrics", "/%6D%65trics", "/metrics?a", "//x/../metrics%zz"):
            assert ask(port, "GET", path) in (403, 404), path
        for path in ("/v2/repository/index", "/v%32/repository/index", "/v2%2frepository/index", "/%762/x%zz"):
            assert ask(port, "POST", path) == 403, path
        assert ask(port, "GET", "/metrics") == ask(port, "GET", "/%6detrics") == 403
        assert ask(port, "GET", "/%6dodels") == 200


@needs_haproxy
def test_haproxy_asks_the_other_replica_where_one_has_died(tmp_path):
    """Also before it has noticed."""
    toys.publish(tmp_path / "models", "toy")
    with (
        serving(tmp_path / "models") as one,
        serving(tmp_path / "models") as two,
        haproxy(tmp_path, one.base_url.port, two.base_url.port) as port,
    ):
        two.process.kill()
        two.process.wait(10)

        assert [ask(port, "GET", "/models") for _ in range(8)] == [200] * 8


@needs_haproxy
def test_haproxy_leaves_out_a_replica_that_is_not_ready_until_it_is(tmp_path):
    toys.publish(tmp_path / "models", "toy")
    key = "an admin key that is long"
    with (
        serving(tmp_path / "models", ADMIN_KEY=key) as client,
        haproxy(tmp_path, client.base_url.port, check="500ms") as port,
    ):
        for change, status in (("unload", 503), ("load", 200)):
            client.post(f"/v2/repository/models/toy/{change}", headers={"X-API-Key": key}).raise_for_status()
            wait_for(lambda status=status: ask(port, "GET", "/models") == status)


@needs_haproxy
def test_haproxy_leaves_room_where_one_address_takes_all_it_gets(tmp_path):
    toys.publish(tmp_path / "models", "toy")
    with serving(tmp_path / "models") as client, haproxy(tmp_path, client.base_url.port) as port, ExitStack() as held:

        def is_full():  # of many that come at once, it may turn away one too many
            for _ in range(80):
                held.enter_context(socket.create_connection(("127.0.0.1", port)))
            return ask(port, "GET", "/readyz") == 0

        wait_for(is_full)
        assert ask(port, "GET", "/readyz", source="127.0.0.2") == 200


@needs_nginx
def test_nginx_asks_the_other_replica_while_one_restarts(tmp_path):
    """One after the other, in less time than nginx by default shuts out what has failed."""
    toys.publish(tmp_path / "models", "toy")
    with (
        free_port() as same,  # for the one after it, too
        serving(tmp_path / "models", PORT=same) as one,
        serving(tmp_path / "models") as two,
        nginx(tmp_path, same, two.base_url.port) as port,
    ):
        one.process.kill()
        one.process.wait(10)
        assert [ask(port, "GET", "/models") for _ in range(8)] == [200] * 8
        with serving(tmp_path / "models", PORT=same):
            two.process.kill()
            two.process.wait(10)
            assert [ask(port, "GET", "/models") for _ in range(8)] == [200] * 8


@needs_nginx
def test_nginx_asks_the_other_replica_where_one_is_not_ready(tmp_path):
    toys.publish(tmp_path / "models", "toy")
    key = "an admin key that is long"
    with (
        serving(tmp_path / "models", ADMIN_KEY=key) as one,
        serving(tmp_path / "models") as two,
        nginx(tmp_path, one.base_url.port, two.base_url.port) as port,
    ):
        one.post("/v2/repository/models/toy/unload", headers={"X-API-Key": key}).raise_for_status()
        assert one.get("/readyz").status_code == 503

        assert [ask(port, "GET", "/readyz") for _ in range(8)] == [200] * 8


@needs_nginx
def test_nginx_lets_nobody_in_from_outside(tmp_path):
    """However the path is written."""
    toys.publish(tmp_path / "models", "toy")
    with (
        serving(tmp_path / "models", ADMIN_KEY="an admin key that is long") as client,
        nginx(tmp_path, client.base_url.port) as port,
    ):
        for path in ("/metrics", "/%6detrics", "/metrics?a", "//metrics", "/x/../metrics"):
            assert ask(port, "GET", path) == 403, path
        for path in ("/v2/repository/index", "/v%32/repository/index", "/v2%2frepository/index"):
            assert ask(port, "POST", path) == 403, path
        assert ask(port, "GET", "/%6dodels") == 200


@pytest.mark.parametrize("proxy", ["haproxy", "nginx"])
def test_what_a_proxy_itself_refuses_is_json_as_well(tmp_path, proxy):
    if shutil.which(proxy) is None:
        pytest.skip(f"{proxy} is not installed")
    toys.publish(tmp_path / "models", "toy")
    with (
        serving(tmp_path / "models") as one,
        {"haproxy": haproxy, "nginx": nginx}[proxy](tmp_path, one.base_url.port) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        refused = [client.get("/metrics"), client.post("/predict", content=bytes(33 * 1024 * 1024))]
        own = client.get("/predict")
        one.process.kill()
        one.process.wait(10)
        refused.append(client.get("/models"))

    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [
        (403, "forbidden"),
        (413, "body_too_large"),
        {"haproxy": (503, "not_ready"), "nginx": (502, "bad_gateway")}[proxy],
    ]
    for answer in refused:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        assert answer.json()["error"] == answer.json()["detail"]
        assert answer.json()["title"] == problems.of_status(answer.status_code).title or answer.status_code == 503
        assert answer.headers.get("retry-after") == ("1" if answer.status_code == 503 else None)
    assert (own.status_code, own.json()["code"]) == (405, "method_not_allowed")  # the service's own pass unchanged


@needs_haproxy
def test_haproxy_says_in_json_that_a_replica_has_died_with_a_request(tmp_path):
    toys.publish(tmp_path / "models", "toy")
    with (
        serving(tmp_path / "models") as client,
        haproxy(tmp_path, client.base_url.port) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
    ):
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"
        connection.sendall(head + bytes(50_000))  # more than HAProxy keeps, to send it again
        wait_for(lambda: scrape(client)["multipool_upload_bytes",] >= 50_000)
        client.process.send_signal(signal.SIGSTOP)
        connection.sendall(bytes(50_000))
        wait_for(lambda: unread(client.base_url.port) == 50_000)
        client.process.kill()
        answer = read_all(connection)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 ")
    assert json.loads(body)["code"] == "bad_gateway"


@needs_nginx
def test_what_nginx_cannot_read_is_answered_in_json_and_a_request_keeps_its_id(tmp_path):
    toys.publish(tmp_path / "models", "toy")
    with serving(tmp_path / "models") as client, nginx(tmp_path, client.base_url.port) as port:

        def ask(path="/models", method="GET", **fields):
            lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close"]
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall("\r\n".join([*lines, "", ""]).encode())
                head, _, body = read_all(connection).decode().partition("\r\n\r\n")
            return int(head.split()[1]), head.lower(), json.loads(body)

        for asked, status in [
            (ask(f"/{'a' * 9000}"), 414),
            (ask(X_A="a" * 9000), 400),
            (ask("/%00"), 400),
            (ask(method="TRACE"), 405),
        ]:
            found, head, body = asked
            assert (found, body["code"]) == (status, problems.of_status(status).code)
            assert "content-type: application/problem+json" in head

        for path, status in [("/models", 200), ("/metrics", 403)]:
            found, head, _ = ask(path, X_Request_ID="my.own-1")
            assert found == status
            assert "x-request-id: my.own-1\r" in head + "\r"
            assert re.search(r"x-request-id: [0-9a-f]{32}\r", ask(path, X_Request_ID="not (sane)")[1] + "\r")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    ("found", "fires"),
    [
        ({"up": "1x60", "process_start_time_seconds": "1x60"}, None),
        ({"up": "0x60"}, "MultipoolDown"),
        ({}, "MultipoolDown"),
        (  # never gone for a minute
            {"up": "1 0 1 1 " * 15, "process_start_time_seconds": "1 _ 2 2 3 _ 4 4 5 _ 6 6" + " 7" * 48},
            "MultipoolRestarts",
        ),
        ({"up": "1x60", "multipool_ready": "0x60", "multipool_default_ready": "0x60"}, "MultipoolNotReady"),
        ({"up": "1x60", "multipool_ready": "1x60", "multipool_default_ready": "0x60"}, "MultipoolDefaultModelMissing"),
        ({**ONE_IN_TEN_NOT_READY, "multipool_ready": "1x60"}, "MultipoolModelUnavailable"),
        ({**ONE_IN_TEN_NOT_READY, "multipool_ready": "0x60"}, "MultipoolNotReady"),
        # While it started, health checks were told so, too.
        ({**ONE_IN_TEN_NOT_READY, "multipool_ready": "1x60", "process_start_time_seconds": "0x60"}, None),
    ],
)
def test_the_alerts_tell_of_a_service_that_is_gone_does_not_last_or_lacks_a_model(tmp_path, found, fires):
    """Whatever its job is called, if only 'multipool' comes first."""
    series = [(name.replace("}", ",") if "{" in name else f"{name}{{", values) for name, values in found.items()]
    series = [(f'{name}job="multipool-gpu",instance="one"}}', values) for name, values in series]
    firing = [{"labels": f'{{alertname="{fires}"}}', "value": 1}] if fires else []
    expected = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "5m", "exp_samples": firing}
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values.strip()} for name, values in series],
        "promql_expr_test": [expected],
    }
    rules = str(DEPLOY / "prometheus" / "alerts.yml")
    document = {"rule_files": [rules], "evaluation_interval": "15s", "tests": [test]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))

    done = subprocess.run(
        [PROMTOOL, "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_tries_again_what_a_restart_can_repair_and_waits_for_the_end():
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "systemd" / "multipool.service")
    service = unit["Service"]
    settings = Settings()

    lasting = {code for kind, code in EXIT_CODES if kind not in (errors.PortInUse, errors.DeviceUnavailable)}
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == lasting
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"  # never give up
    assert int(service["TimeoutStopSec"]) > settings.lame_duck_s + settings.shutdown_timeout_s + LAST_RESORT_S


@needs_nginx
@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_nginx_speaks_tls_of_today_and_gives_each_request_an_id(tmp_path, version):
    toys.publish(tmp_path / "models", "toy")
    files = ["-keyout", tmp_path / "multipool.key", "-out", tmp_path / "multipool.crt"]
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", *files],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(cafile=tmp_path / "multipool.crt")
    context.check_hostname = False
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    with (
        serving(tmp_path / "models") as client,
        nginx(tmp_path, client.base_url.port, tls=tmp_path) as port,
        context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as connection,
    ):
        assert connection.version() == version
        connection.sendall(b"GET /models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        number = re.search(rb"x-request-id: ([0-9a-f]{32})\r", read_all(connection))[1].decode()
        client.log.wait_for(rf"GET /models 200 .* \[{number}\]")


def test_the_files_in_the_image_can_be_read_by_its_user():
    """Under whatever umask they were checked out: they come by way of a stage that opens them to all."""
    (opened,) = re.findall(r"chmod -R a\+rX (.*)", stage("build"))
    copied = re.findall(r"^COPY (.*) (\S+)$", stage(), re.MULTILINE)

    assert copied
    for source, target in copied:
        assert source == f"--from=build {target}"
        assert target == "/opt/venv" or target in opened.split()


def test_a_training_in_a_container_writes_as_the_owner_of_the_folder_and_takes_the_arguments_as_they_are():
    if os.getuid() != 0 or SETPRIV is None:
        pytest.skip("needs root and setpriv, as the container has them")
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", stage("training"), re.MULTILINE)[1])
    with tempfile.TemporaryDirectory() as folder:  # that of pytest is closed to others
        Path(folder).chmod(0o755)
        python, work = Path(folder, "python"), Path(folder, "work")
        python.write_text('#!/bin/sh\nfor one; do echo "$one"; done > said; id -u >> said; id -G >> said\n')
        python.chmod(0o755)
        work.mkdir()
        os.chown(work, 1234, 2345)

        subprocess.run([*entry, "train", "my photos"], cwd=work, env={"PATH": f"{folder}:{os.defpath}"}, check=True)

        said = work / "said"
        assert said.read_text().splitlines() == ["-m", "model_export", "train", "my photos", "1234", "2345"]
        assert (said.stat().st_uid, said.stat().st_gid) == (1234, 2345)


def test_compose_trains_in_an_image_of_its_own_and_only_when_asked(monkeypatch):
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    monkeypatch.setenv(*services["model_export"]["environment"][0].split("="))
    (mounted, _), (kept, _) = (volume.split(":")[::-1] for volume in services["model_export"]["volumes"])

    assert invocation.program() == "docker compose run --rm model_export"
    assert invocation.serving(None) == "docker compose up"
    assert services["model_export"]["build"]["target"] == "training"
    assert services["model_export"]["profiles"]
    assert "profiles" not in services["multipool"]
    assert f"\nWORKDIR {mounted}\n" in stage("training")
    assert f"HOME={kept}\n" in stage("training")
    mount = """ -v "$PWD"/'my models':/others:ro -e MULTIPOOL_MODELS_DIR=/others """
    assert invocation.serving(Path("my models")) == f"docker compose run --rm --service-ports{mount}multipool"


def test_a_training_in_a_container_writes_only_what_outlasts_it():
    """Beside the volumes, into memory alone: a model published elsewhere would be gone."""
    training = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["model_export"]

    assert (training["read_only"], training["tmpfs"]) == (True, ["/tmp"])  # noqa: S108


def test_a_training_in_a_container_can_be_told_to_end():
    """Its init is root and the training is not: without that capability, Docker's SIGTERM kills both."""
    training = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["model_export"]

    assert training["init"] is True
    assert set(training["cap_add"]) == {"SETUID", "SETGID", "KILL"}
    assert training["cap_drop"] == ["ALL"]


def test_compose_asks_no_registry_for_what_it_builds():
    """There, its name may belong to somebody else."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    assert {name: service["pull_policy"] for name, service in services.items() if "build" in service} == dict.fromkeys(
        ("multipool", "model_export"), "never"
    )


def test_kubernetes_is_in_step_with_the_image():
    deployment, service = manifests()
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    image = stage()
    inside = dict(re.findall(r"(MULTIPOOL_[A-Z_]+)=(\S+)", image))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["multipool"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}

    (port,) = container["ports"]
    assert str(port["containerPort"]) == inside["MULTIPOOL_PORT"] == re.search(r"EXPOSE (\d+)", image)[1]
    assert [one["targetPort"] for one in service["spec"]["ports"]] == [port["name"]]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    assert mounts[inside["MULTIPOOL_MODELS_DIR"]]["readOnly"] is True
    user = f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"
    assert user == re.search(r"USER (\S+)", image)[1]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is compose["read_only"] is True
    assert security["capabilities"]["drop"] == compose["cap_drop"] == ["ALL"]
    assert (not security["allowPrivilegeEscalation"]) is ("no-new-privileges:true" in compose["security_opt"]) is True
    assert set(compose["tmpfs"]) <= set(mounts)
    health = {name: int(number) for name, number in re.findall(r"--([a-z-]+)=(\d+)", image.split("HEALTHCHECK ")[1])}
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == health["start-period"]
    assert startup["periodSeconds"] == health["start-interval"]
    assert liveness["periodSeconds"] == health["interval"]
    probes = [startup, liveness, container["readinessProbe"]]
    assert {probe["timeoutSeconds"] for probe in probes} == {health["timeout"]}
    assert liveness["failureThreshold"] == container["readinessProbe"]["failureThreshold"] == health["retries"]
    assert container["readinessProbe"]["httpGet"]["path"] in image


def test_kubernetes_gives_a_replica_the_time_to_end():
    deployment, _ = manifests()
    spec = deployment["spec"]["template"]["spec"]
    settings = Settings.model_validate({name.lower(): value for name, value in chosen(spec).items()})
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["multipool"]
    grace = int(compose["stop_grace_period"].removesuffix("s"))

    takes = settings.lame_duck_s + settings.shutdown_timeout_s + LAST_RESORT_S
    assert spec["terminationGracePeriodSeconds"] > takes
    assert grace > Settings().lame_duck_s + Settings().shutdown_timeout_s + LAST_RESORT_S
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_service_starts_with_the_settings_for_kubernetes_and_answers_the_probes(tmp_path):
    """The probes have no key; everything else needs the one of the Secret."""
    toys.publish(tmp_path / "models", "toy")
    deployment, _ = manifests()
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    settings = chosen(spec)
    (secret,) = [volume["name"] for volume in spec["volumes"] if "secret" in volume]
    (mount,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == secret]
    assert settings["API_KEYS_FILE"].startswith(f"{mount}/")
    (tmp_path / "keys").write_text("a key that is long enough\n")
    here = {"API_KEYS_FILE": tmp_path / "keys", "LAME_DUCK_S": 0}

    with serving(tmp_path / "models", **settings | here) as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert client.get(container[probe]["httpGet"]["path"]).status_code == 200, probe
        assert client.get("/models").status_code == 401
        assert client.get("/models", headers={"X-API-Key": "a key that is long enough"}).status_code == 200


def stage(name=None):
    """A stage of the Dockerfile; without a name, the last one, which is the service."""
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1:]
    return next(each for each in stages if f" AS {name}\n" in each) if name else stages[-1]


def manifests():
    """The Deployment and the Service."""
    deployment, service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    return deployment, service


def chosen(spec):
    """The settings of a pod, without their prefix."""
    (container,) = spec["containers"]
    assert all(one["name"].startswith(PREFIX) for one in container["env"])
    return {one["name"].removeprefix(PREFIX): one["value"] for one in container["env"]}


@contextmanager
def haproxy(folder, *replicas, check="1h"):
    """Run HAProxy in front of the services on these ports; yields its own port.

    Where it is not the matter, it does not ask how they are: one that is held up for half a second would be left out.
    """
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text().replace("inter 500ms", f"inter {check}")
    text = re.sub(r"(?m)^ *server .*\n", "", text)
    servers = "".join(f"    server on-{port} 127.0.0.1:{port}\n" for port in replicas)
    with free_port() as own:
        text = listening_elsewhere(text, "bind :8080", f"bind 127.0.0.1:{own}")
        (folder / "haproxy.cfg").write_text(text + servers)
        with running(HAPROXY, "-db", "-f", folder / "haproxy.cfg", port=own):
            yield own


@contextmanager
def nginx(folder, *replicas, tls=None):
    """Run nginx in front of the services on these ports, with the certificate in a folder or without TLS; yields its
    own port.
    """
    text = (DEPLOY / "nginx" / "multipool.conf").read_text()
    text = re.sub(r" *ssl_certificate.*\n", "", text) if tls is None else text.replace("/etc/nginx/tls", str(tls))
    line = re.search(r"server 127.0.0.1:8000.*", text)[0]
    text = text.replace(line, "\n".join(line.replace(":8000", f":{port}") for port in replicas))
    paths = "".join(f"{one}_temp_path {folder / one}; " for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with free_port() as own:
        kind = "" if tls is None else " ssl"
        text = listening_elsewhere(text, "listen 443 ssl", f"listen 127.0.0.1:{own}{kind}")
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder / 'pid'}; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {paths}\n{text}}}\n"
        )
        with running(NGINX, "-p", folder, "-c", folder / "nginx.conf", port=own, status=200 if tls is None else 400):
            yield own


def listening_elsewhere(text, where, elsewhere):
    """Have a configuration listen somewhere else."""
    assert where in text
    return text.replace(where, elsewhere)


@contextmanager
def running(*command, port, status=200):
    """Run a proxy from when it answers ``/readyz``, without TLS, with this status until the end."""
    process = subprocess.Popen(command)
    try:
        wait_for(lambda: ask(port, "GET", "/readyz") == status)
        yield
    finally:
        process.kill()
        process.wait(10)


def unread(port):
    """Count the bytes that have come over connections to a port and that nobody has read."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]
    return sum(int(row[4].partition(":")[2], 16) for row in established)


def ask(port, method, path, source="127.0.0.1"):
    """Send one request as it stands; returns the status, or 0 where nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as connection:
            request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            answer = read_all(connection)
    except ConnectionError:
        return 0
    return int(answer.split()[1]) if answer else 0


@pytest.mark.skipif(not shutil.which("make"), reason="make is absent")
def test_where_there_is_no_python_make_says_what_to_install(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "deploy" / "requirements", tmp_path / "deploy" / "requirements")

    command = ["make", "PYTHON=python3.99", "serve"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("there is no python3.99: install Python 3.11 or newer, or name it: make PYTHON=")


@pytest.mark.skipif(not shutil.which("make"), reason="make is absent")
@pytest.mark.parametrize(("target", "code", "said"), [("serve", 0, ""), ("training", 2, "TensorFlow needs")])
def test_where_python_is_too_new_for_tensorflow_make_says_so(tmp_path, target, code, said):
    """The service alone can do without it. The interpreter only looks like Python 3.14, and installs nothing.

    MAKEFLAGS has the PYTHON that ``make test`` was given, if any.
    """
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "deploy" / "requirements", tmp_path / "deploy" / "requirements")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"#!/bin/sh\n[ $1 = -c ] || exit 0\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 14); "
        """exec(sys.argv[1])' "$2"\n"""
    )
    python.chmod(0o755)
    python.with_name("pip").touch()

    command, own = ["make", target], {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False)

    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said)


def test_what_is_verified_on_a_cpu_is_served_on_a_gpu_by_the_same_onnx_runtime():
    locked = ROOT / "deploy" / "requirements"
    found = {
        path.name: re.findall(r"^onnxruntime(?:-gpu)?==(\S+)", path.read_text(), re.MULTILINE)
        for path in locked.glob("*.txt")
        if path.name != "supply.txt"
    }

    assert set(found) == {"dev.txt", "export.txt", "serve-cpu.txt", "serve-cuda.txt"}
    assert all(versions == found["serve-cpu.txt"] and len(versions) == 1 for versions in found.values()), found
