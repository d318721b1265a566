"""A port on loopback to a SuperLink behind the proxy, which adds the operator's certificate.

Flower's own ``flwr`` (1.41) cannot show a client certificate. It talks to this port without TLS;
what it says continues over TLS with the certificate. Any process that can open the port is the
operator for as long as it is open: on a machine that others use, take infomri's own commands with
``--operator``, which need no such port.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from infomri_core.system.errors import InputError

HOST = "127.0.0.1"
PIECE = 65536


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends, and tell the other."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


@contextlib.asynccontextmanager
async def forwarded(
    port: int, target: tuple[str, int], trust: ssl.SSLContext
) -> AsyncIterator[int]:
    """Listen on loopback at ``port`` (0: a free one) for as long as the context lasts; the port.
    ``trust`` holds the authority and the operator's certificate."""
    host, _ = target

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(
                *target, ssl=trust, server_hostname=host
            )
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    try:
        server = await asyncio.start_server(serve, HOST, port)
    except OSError as error:
        got = error.strerror or "an error"
        raise InputError("--port", "a free port", got, "give another --port") from None
    async with server:
        yield int(server.sockets[0].getsockname()[1])
