"""How answers of every shape go over the wire: a real server on a real socket, with applications of a few lines."""

import asyncio
import logging

import pytest
import uvicorn

from app.metrics import Metrics
from app.server.idle import Idle
from app.server.limits import Limits
from app.server.protocol import Protocol
from app.server.refusals import Refusals

LENGTH = (b"content-length", b"10")
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
LAST = b"Connection: close\r\n\r\n"


def answering(*parts, headers=(LENGTH,), status=200):
    """Make an application that sends its answer in these parts."""

    async def application(_scope, _receive, send):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return application


async def _ask(application, request):
    config = uvicorn.Config(application, http=Protocol, ws="none", log_config=None, access_log=False, date_header=False)
    config.load()
    state = uvicorn.server.ServerState()
    shared = {"limits": Limits(), "refusals": Refusals(Metrics(), ()), "idle": Idle()}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(config, state, shared), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(request)
        packets = []
        while packet := await reader.read(65536):
            packets.append(packet)
        writer.close()
    return packets


def ask(application, request=GET + LAST):
    """Send a request, and take what comes in the pieces that it comes in until the connection is closed."""
    return asyncio.run(asyncio.wait_for(_ask(application, request), 20))


def test_head_and_body_come_in_one_piece():
    (packet,) = ask(answering(b"0123456789"))

    assert packet == b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n0123456789"


def test_an_answer_in_parts_is_sent_as_it_comes():
    assert b"".join(ask(answering(b"01234", b"56789"))).endswith(b"close\r\n\r\n0123456789")


def test_an_answer_of_unknown_length_is_sent_in_chunks():
    answer = b"".join(ask(answering(b"01234", b"56789", headers=())))

    assert b"transfer-encoding: chunked" in answer
    assert answer.endswith(b"\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")


def test_head_gets_the_header_alone():
    answer = b"".join(ask(answering(b"0123456789"), b"HEAD / HTTP/1.1\r\nHost: x\r\n" + LAST))

    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n"


def test_head_gets_nothing_of_a_body_in_parts_either():
    twice = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + b"HEAD / HTTP/1.1\r\nHost: x\r\n" + LAST

    answer = b"".join(ask(answering(b"01234", b"56789"), twice))

    assert answer.count(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n") == 2
    assert b"0123" not in answer


def test_nothing_is_asked_for_once_the_answer_is_there():
    async def early(_scope, receive, send):
        await answering(b"0123456789")(_scope, receive, send)
        await receive()

    request = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n" + LAST

    assert b"100 Continue" not in b"".join(ask(early, request))


def test_an_answer_that_closes_the_connection_is_the_last():
    packets = ask(answering(b"0123456789", headers=[LENGTH, (b"connection", b"close")]), 2 * (GET + b"\r\n"))

    assert b"".join(packets).count(b"HTTP/1.1 200") == 1
    assert b"".join(packets).count(b"connection: close") == 1


def test_answers_without_a_body():
    assert b"".join(ask(answering(b"", status=204, headers=()))).endswith(b"\r\n\r\n")
    assert b"".join(ask(answering(b"", status=304, headers=()))).startswith(b"HTTP/1.1 304 ")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
def test_a_header_cannot_forge_another(value, caplog):
    answer = b"".join(ask(answering(b"0123456789", headers=[LENGTH, (b"x", value)])))

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"cookie" not in answer
    assert "control character" in caplog.text


@pytest.mark.parametrize("body", [b"012345678", b"0123456789a"])
def test_a_body_of_another_length_than_announced_ends_the_connection(body, caplog):
    with caplog.at_level(logging.ERROR):
        answer = b"".join(ask(answering(body), 2 * (GET + b"\r\n")))

    assert answer.count(b"HTTP/1.1") == 1
    assert len(answer.partition(b"\r\n\r\n")[2]) < 10
    assert "Content-Length" in caplog.text
