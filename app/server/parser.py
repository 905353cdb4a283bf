"""llhttp's parser, with every ``Upgrade`` ignored, so that HTTP/1.1 is the only protocol.

A request may ask to switch to another protocol (``Upgrade``), and a server may ignore that (RFC 9110, section 7.8).
llhttp cannot ignore it: it takes what follows the header as the other protocol's, and drops the body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from array import array

    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Parser(httptools.HttpRequestParser):
    """Parses the header of a request with ``Upgrade`` a second time, without that field."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        """Prepare to call the protocol back."""
        super().__init__(protocol)
        self._protocol = protocol
        self.fault = "this is not an HTTP request, or a broken one"
        """Why the parser has stopped, in words for the client."""

    def makes_offer(self) -> bool:
        """Whether the header is about to be parsed a second time, so that nothing must be done for the request yet."""
        return super().should_upgrade() and self.get_method() != b"CONNECT"

    def should_upgrade(self) -> bool:
        """Tell uvicorn that the protocol is never switched."""
        return False

    def feed_data(self, data: bytes | bytearray | memoryview[int] | array[int]) -> None:
        """Parse the next bytes; after an ``Upgrade``, the protocol has a new parser.

        Raises:
            httptools.HttpParserError: The bytes are not HTTP/1.1, or ask for a tunnel.
        """
        parser, rest = self, memoryview(data)
        while True:
            try:
                super(Parser, parser).feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                if parser.get_method() == b"CONNECT":
                    raise httptools.HttpParserError from None  # what follows is meant for the other end of the tunnel
                header, rest = parser._header(), rest[offer.args[0] :]
                parser = self._protocol.parser = Parser(self._protocol)
                super(Parser, parser).feed_data(header)
            except httptools.HttpParserCallbackError:
                raise  # not llhttp's: the protocol has set the reason
            except httptools.HttpParserError as error:
                advice = "; write what is not ASCII as %XX" * isinstance(error, httptools.HttpParserInvalidURLError)
                parser.fault += f": {error}{advice}"
                raise
            else:
                return

    def _header(self) -> bytes:
        version, method = self.get_http_version().encode(), self.get_method()
        fields = [b"%b: %b\r\n" % field for field in self._protocol.headers if field[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self._protocol.url, version, b"".join(fields))
