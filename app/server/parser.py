"""HTTP/1.1 as llhttp reads it, and nothing but that.

A request may offer to go on in another protocol (``Upgrade``), and a server may pay no heed (RFC 9110, section 7.8).
llhttp itself stops there: it takes what follows the header for the other protocol, and drops the body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from array import array

    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Parser(httptools.HttpRequestParser):
    """Reads a request that makes such an offer once more, as if it made none."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        """Prepare to call the protocol back."""
        super().__init__(protocol)
        self._protocol = protocol
        self.fault = "this is not an HTTP request, or a broken one"
        """For the sender: why the parser has stopped."""

    def makes_offer(self) -> bool:
        """Tell whether the request is about to be read once more, so that nothing is to be done for it yet."""
        return super().should_upgrade() and self.get_method() != b"CONNECT"

    def should_upgrade(self) -> bool:
        """Tell uvicorn that no offer is ever taken up."""
        return False

    def feed_data(self, data: bytes | bytearray | memoryview[int] | array[int]) -> None:
        """Read on; the protocol's parser is another one afterwards if an offer was made.

        Raises:
            httptools.HttpParserError: It is not HTTP/1.1, or asks for a tunnel.
        """
        parser, rest = self, memoryview(data)
        while True:
            try:
                super(Parser, parser).feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                if parser.get_method() == b"CONNECT":
                    raise httptools.HttpParserError from None  # what follows is for the other end of the tunnel
                header, rest = parser._header(), rest[offer.args[0] :]
                parser = self._protocol.parser = Parser(self._protocol)
                super(Parser, parser).feed_data(header)
            except httptools.HttpParserCallbackError:
                raise  # not llhttp's, and the protocol knows better
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
