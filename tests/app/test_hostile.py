"""Hundreds of broken, truncated, huge and odd files over HTTP, bombs, and a fuzzer that reads the OpenAPI document."""

import math
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests import toys
from tests.conftest import ROOT, serving

BATCH = 24
LIMIT_S = 2


def soon(client, limit_s, what, ask):
    """Ask, and see how long the service works for it; by the clock, a machine that stalls would count as well."""
    before = worked_s(client)
    response = ask()
    assert worked_s(client) - before < limit_s, what
    return response


def worked_s(client):
    """Time that the service has taken of all cores."""
    fields = Path(f"/proc/{client.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def resident_mb(client):
    """Memory the service has, once it is quiet."""
    status = Path(f"/proc/{client.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    toys.publish(root, "toy")
    toys.publish(root, "bands", 1, toys.artifact(16, 16, 13))
    with serving(root, DEFAULT_MODEL="toy") as client:
        yield client


def numbers(value):
    """Every number in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float):
        yield value


def check(status, document):
    """A good answer has finite numbers; anything else is the caller's fault, and says so."""
    if status == 200:
        assert all(math.isfinite(number) for number in numbers(document))
    else:
        assert 400 <= status < 500
        assert set(document) == {"type", "title", "status", "detail", "code", "request_id", "error"}
        assert document["status"] == status
        assert len(document["detail"]) < 400


def test_every_hostile_file_is_answered_soon(client, data):
    paths = sorted(path for path in (data / "hostile").rglob("*") if path.is_file() and path.suffix != ".tsv")
    assert len(paths) > 700
    statuses = {}
    for path in paths:
        sent = {"content": path.read_bytes(), "headers": {"Content-Type": "application/octet-stream"}}
        response = soon(client, LIMIT_S, path, lambda sent=sent: client.post("/predict", **sent))
        check(response.status_code, response.json())
        statuses[path] = response.status_code
    assert set(statuses.values()) >= {200, 415, 422}
    for start in range(0, len(paths), BATCH):
        part = [path for path in paths[start : start + BATCH] if path.stat().st_size < 1_000_000]
        files = [("file", path.read_bytes()) for path in part]
        response = client.post("/predict/batch", files=files, params={"model": "toy"})
        assert response.status_code == 200
        for path, result in zip(part, response.json()["results"], strict=True):
            problem = result.get("error")
            check(problem["status"] if problem else 200, problem or result)
            assert (problem["status"] if problem else 200) == statuses[path], path
    assert client.get("/readyz").status_code == 200
    assert "Traceback" not in client.log.text


def png(width, height, depth=8, colour=2):
    """A PNG of which nothing but the header is true."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 5_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg(width, height):
    """A small JPEG that says it is large."""
    data = bytearray(toys.plain(128, (16, 16), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


BOMBS = {
    "a png of 400 megapixels": png(20_000, 20_000),
    "a png of 100 megapixels": png(10_000, 10_000),
    "a png of one bit a pixel": png(9_000, 9_000, 1, 0),
    "a png beyond all bounds": png(2**31 - 1, 2**31 - 1),
    "a jpeg of 144 megapixels": jpeg(12_000, 12_000),
    "a jpeg of 4 gigapixels": jpeg(65_500, 65_500),
    "a jpeg of a thousand passes": toys.scans(Image.new("L", (3000, 3000), 128), 1000),
    "a gif of 4 gigapixels": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + b"\0" * 6 + b",",
    "an array of petabytes": b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999, 9999999, 3), }".ljust(117)
    + b"\n",
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_are_refused_before_they_are_decoded(client, case):
    before = resident_mb(client)
    for _ in range(5):
        response = soon(client, 0.5, case, lambda: client.post("/predict", files={"file": BOMBS[case]}))
        check(response.status_code, response.json())
        assert response.status_code in (415, 422)
    assert resident_mb(client) - before < 10


def test_a_text_chunk_that_unpacks_to_much_is_refused(client):
    body = b"zTXtComment\0\0" + zlib.compress(b"\0" * 64_000_000, 9)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    image = toys.plain(128)
    start = image.index(b"IDAT") - 4

    response = client.post("/predict", files={"file": image[:start] + chunk + image[start:]})

    assert response.status_code == 422


def test_an_image_writes_nothing_into_the_log(client):
    """Decoders would warn of every field of a header that they do not like."""
    count = 300
    fields = b"".join(struct.pack("<HHII", 0x9000 + field, 7, 10_000, 8) for field in range(count))
    exif = b"II*\0" + struct.pack("<IH", 8, count) + fields + bytes(10_000)
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    image = toys.plain(255)
    start = image.index(b"IDAT") - 4
    client.log.wait_for("ready: ")  # which is said a moment after the service is
    earlier = client.post("/predict", files={"file": image})
    client.log.wait_for(earlier.headers["x-request-id"])  # so is all that was asked before
    lines = client.log.text.count("\n")

    response = client.post("/predict", files={"file": image[:start] + chunk + image[start:]})

    assert response.json()["label"] == "bright"
    client.log.wait_for(response.headers["x-request-id"])
    assert client.log.text.count("\n") == lines + 1


def fuzz(client, folder, *options):
    """Let schemathesis loose on the service with all its checks; returns how many cases found nothing."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/openapi.json", "--checks", "all"]
    patient, environment = ("--request-timeout", "60"), {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--no-color", "--seed", "1", "--suppress-health-check", "too_slow", *patient, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-5000:]
    assert "Traceback" not in client.log.text
    return int(re.search(r"(\d+) generated", done.stdout)[1])


def test_a_fuzzer_that_knows_the_interface_finds_nothing(client, tmp_path):
    """All of schemathesis' checks but one: no schema can say of bytes that they are an image, so some are refused."""
    assert fuzz(client, tmp_path, "--exclude-checks", "positive_data_acceptance", "--max-examples", "20") > 100


def test_a_fuzzer_that_holds_the_admin_key_finds_nothing(tmp_path):
    """Where no images are sent, whatever the document allows is accepted."""
    toys.publish(tmp_path, "toy")
    with serving(tmp_path, ADMIN_KEY="an admin key that is long") as client:
        options = ["--include-path-regex", "^/(v2|models)", "-H", "X-API-Key: an admin key that is long"]

        assert fuzz(client, tmp_path, *options, "--max-examples", "10") > 50
