"""The HTTP client against servers that say exactly what they should not."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from posthouse.auth import http_client
from posthouse.auth.http_client import BadUrl, HttpClient, HttpError, Url
from tests.queue.asynchronous import asynchronous

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def with_server(handler: Handler, act: Callable[[HttpClient], Awaitable[None]], timeout_s: float = 2.0) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass  # the client has had enough
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = HttpClient(Url.parse(f"http://127.0.0.1:{port}/x"), timeout_s=timeout_s)
    try:
        await act(client)
    finally:
        client.close()
        server.close()
        await server.wait_closed()


def answers(*octets: bytes) -> Handler:
    """One connection, one answer for each request on it; then it is closed."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for one in octets:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(one)
            await writer.drain()

    return handler


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_a_connection_is_kept_and_one_that_was_closed_meanwhile_is_no_failure() -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answers(OK, OK)(reader, writer)

    async def act(client: HttpClient) -> None:
        for wanted in (1, 1, 2, 2, 3):
            assert (await client.call("GET")).body == b"{}"
            assert connections == wanted

    asynchronous(lambda: with_server(handler, act))()


@pytest.mark.parametrize(
    ("octets", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_answers_in_every_form(octets: bytes, body: bytes) -> None:
    async def act(client: HttpClient) -> None:
        assert (await client.call("GET")).body == body

    asynchronous(lambda: with_server(answers(octets), act))()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b" " * 300_000,
    ],
)
def test_what_is_no_answer_is_a_failure(octets: bytes) -> None:
    async def act(client: HttpClient) -> None:
        with pytest.raises(HttpError, match=r"http://127\.0\.0\.1"):
            await client.call("POST", body=b"x")

    asynchronous(lambda: with_server(answers(octets), act))()


def test_an_answer_that_trickles_ends_in_time() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def act(client: HttpClient) -> None:
        with pytest.raises(HttpError, match="no answer within"):
            await client.call("GET")

    asynchronous(lambda: with_server(handler, act, timeout_s=0.3))()


def test_a_slow_server_gets_no_more_than_its_number_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAXIMAL_CALLS", 3)
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()

    async def act(client: HttpClient) -> None:
        found = await asyncio.gather(*(client.call("GET") for _ in range(20)), return_exceptions=True)
        assert all(isinstance(one, HttpError) for one in found)
        assert connections == 3

    asynchronous(lambda: with_server(handler, act, timeout_s=0.3))()


@pytest.mark.parametrize(
    "text", ["", "x", "ftp://a/", "http://", "http://a:b/", "http://a/ b", "http://a/#b", "http://ä/", "/x"]
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(BadUrl):
        Url.parse(text)


def test_what_is_shown_of_a_url_has_no_secrets() -> None:
    url = Url.parse("https://user:p%40ss@[::1]:8443/path?token=secret")
    assert url.shown() == "https://::1:8443/path"
    assert url.credentials == "Basic dXNlcjpwQHNz"
