"""Why the SuperNode ended, as exit codes: made of error codes and types, never of words in a log.

What is raised while the connection is set up is looked at where it is raised: the kind of TLS
failure, the code of Flower's own error, the number of the system's. The supervisor sees the exit
code only.
"""

import errno
import ssl
from collections.abc import Iterator
from enum import IntEnum

import httpx

_ENDED = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


class Ending(IntEnum):
    """Exit codes of ``fl_client.network.supernode``, beside 1 (something else) and 2 (input)."""

    UNTRUSTED = 21
    CERTIFICATE_ENDED = 22
    NO_TLS = 23
    KEY_REFUSED = 24
    PORT_TAKEN = 25
    UNREACHABLE = 26
    UNWRITABLE = 27


def ending_of(error: BaseException) -> Ending | None:
    """What ``error``, or what it arose from, stands for; None where it is nothing known."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            ended = cause.verify_code in _ENDED
            return Ending.CERTIFICATE_ENDED if ended else Ending.UNTRUSTED
        if isinstance(cause, ssl.SSLError):
            return Ending.NO_TLS if cause.reason in _NO_TLS else Ending.UNREACHABLE
        if isinstance(cause, httpx.HTTPStatusError):
            return _of_answer(cause.response)
    for cause in _causes(error):
        if isinstance(cause, httpx.TransportError):
            return Ending.UNREACHABLE
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return Ending.UNWRITABLE
    return None


def _of_answer(response: httpx.Response) -> Ending | None:
    """A refusal of the key or of its activation; a proxy's word that no one is behind it."""
    # Here, since the supervisor, too, reads the codes, and has no need of Flower.
    from flwr.supercore.error import ApiErrorCode, FlowerError

    told = FlowerError.from_json(response.text)
    refused = told is not None and told.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED
    if refused or response.status_code == httpx.codes.UNAUTHORIZED:
        return Ending.KEY_REFUSED
    return Ending.UNREACHABLE if response.is_server_error and told is None else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
