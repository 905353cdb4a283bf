"""How answers of every shape go over the wire: a real server on a real socket, with applications of a few lines."""

import asyncio
import contextlib
import logging
import socket

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


@contextlib.asynccontextmanager
async def _serving(application, *, keep_alive_s=5, send_buffer=None, **limits):
    """Yield the address of a server of this application, its state, and what it has that is idle."""
    settings = {"http": Protocol, "ws": "none", "log_config": None, "access_log": False, "date_header": False}
    config = uvicorn.Config(application, timeout_keep_alive=keep_alive_s, **settings)
    config.load()
    state, idle = uvicorn.server.ServerState(), Idle()
    shared = {"limits": Limits(**limits), "refusals": Refusals(Metrics(), ()), "idle": idle}
    listener = socket.create_server(("127.0.0.1", 0))
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(config, state, shared), sock=listener)
    async with server:
        yield listener.getsockname(), state, idle


async def _ask(application, request):
    async with _serving(application) as (address, _, _):
        reader, writer = await asyncio.open_connection(*address)
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

    request = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na"

    assert b"100 Continue" not in b"".join(ask(early, request + GET + LAST))


def test_an_answer_that_closes_the_connection_is_the_last():
    for requests in (2 * (GET + b"\r\n"), GET + LAST):
        packets = ask(answering(b"0123456789", headers=[LENGTH, (b"connection", b"close")]), requests)

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


def test_a_client_of_http_1_0_is_told_that_its_connection_ends():
    """It would wait for that, or for a header that keeps the connection, which HTTP/1.1 has no need of."""
    answer = b"".join(ask(answering(b"0123456789"), b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))

    assert b"\r\nconnection: close\r\n" in answer


def test_what_comes_after_a_body_is_no_header_of_its_request():
    """Whoever puts a proxy before the service that sets a header relies on it."""

    async def counting(scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await answering(b"%010d" % len(scope["headers"]))(scope, receive, send)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + LAST
    answer = b"".join(ask(counting, head + b"1\r\na\r\n0\r\nX-API-Key: forged\r\n\r\n"))

    assert answer.endswith(b"\r\n\r\n0000000003")


@contextlib.asynccontextmanager
async def _unread(length, request, **settings):
    """Have an answer of this length written that nobody reads; yields both ends of its connection, and what is idle.

    The system has room for a small part of it.
    """
    application = answering(bytes(length), headers=[(b"content-length", b"%d" % length)])
    async with _serving(application, send_buffer=4096, **settings) as (address, state, idle):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(address)
            client.sendall(request)
            client.setblocking(False)
            while not state.total_requests:
                await asyncio.sleep(0)
            (connection,) = state.connections
            assert 0 < connection.transport.get_write_buffer_size() < length
            yield client, connection, idle


@pytest.mark.parametrize("end", ["it was the last one", "it was idle for too long", "another needs its place"])
def test_an_answer_that_is_never_read_holds_no_connection_once_it_is_over(end):
    """Of a small one, all is written as far as its application is concerned."""
    settings = {"write_s": 0.1, "linger_s": 0.1, "keep_alive_s": 0 if "idle" in end else 60}

    async def scenario():
        async with _unread(50_000, GET + (LAST if "last" in end else b"\r\n"), **settings) as (_, connection, idle):
            assert not connection.flow.write_paused
            assert "place" not in end or idle.close_one()
            while connection.connections:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_connection_is_idle_as_soon_as_its_answer_is_read():
    """Before, it is not closed to make room for another."""

    async def scenario():
        async with _unread(500_000, GET + b"\r\n", keep_alive_s=60) as (client, connection, idle):
            assert connection.flow.write_paused
            assert not idle.close_one()
            while connection.transport.get_write_buffer_size():
                await asyncio.get_running_loop().sock_recv(client, 65536)
            assert idle.close_one()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_refusals_that_nobody_reads_do_not_fill_the_memory():
    """For want of a place; the connection ends with the first one that the system has no room for."""
    length = 20_000

    async def scenario():
        async with _unread(length, GET + b"\r\n", is_full=lambda: True) as (_, connection, _):
            for _ in range(1000):
                connection.data_received(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                if connection.transport.is_closing():
                    break
            return connection.transport.get_write_buffer_size()

    assert length < asyncio.run(asyncio.wait_for(scenario(), 20)) < 100_000


@pytest.mark.parametrize(
    ("start", "rest"),
    [(GET, LAST), (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n" + LAST + b"01234", b"56789")],
    ids=["header", "body"],
)
def test_what_came_with_the_start_of_a_request_is_not_counted_with_it(start, rest):
    """A body larger than any header may be, or than what may frame the body that follows."""
    length = 100_000
    before = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length + bytes(length)

    async def scenario():
        async with _serving(answering(b"0123456789")) as (address, state, _):
            reader, writer = await asyncio.open_connection(*address)
            while not state.connections:
                await asyncio.sleep(0)
            (connection,) = state.connections
            connection.data_received(before + start)  # in one piece, as the system gives it at times
            writer.write(rest)
            answers = await reader.read()
            writer.close()
        return answers

    assert asyncio.run(asyncio.wait_for(scenario(), 20)).count(b"HTTP/1.1 200 OK") == 2
