"""Whether this site's clock agrees with the study centre's: Flower admits no node whose doesn't.

A node signs the time with every request. A SuperLink refuses what is signed more than 5 s in its
future or 305 s in its past, in the words in which it refuses an unknown key.
"""

import logging
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

AHEAD_SECONDS = 6.0
BEHIND_SECONDS = 305.0
RETRY_SECONDS = 15.0
_X509_NO_CHECK_TIME = 0x200000

_log = logging.getLogger("infomri.supernode")


def offset(address: str, certificate: Path) -> float | None:
    """Seconds by which this machine's clock is ahead of that of the server at ``address``, to
    about one second; None when it does not answer with the time.

    The server's certificate must be signed by ``certificate``; whether it is in date is not asked,
    since that needs the very clock that is in doubt.
    """
    trust = ssl.create_default_context(cafile=str(certificate))
    trust.verify_flags |= _X509_NO_CHECK_TIME
    try:
        with httpx.Client(verify=trust, timeout=10.0) as client:
            stated = client.get(f"https://{address}/").headers["date"]
        return time.time() - parsedate_to_datetime(stated).timestamp()
    except (httpx.HTTPError, KeyError, ValueError):
        return None


def await_agreement(
    address: str,
    measure: Callable[[], float | None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once ``measure`` gives an offset that is admitted, or none. Says what is wrong."""
    while True:
        ahead = measure()
        if ahead is None or -BEHIND_SECONDS <= ahead <= AHEAD_SECONDS:
            return
        side = "ahead of" if ahead > 0 else "behind"
        _log.error(
            "this site's clock is %s %s that of %s, which admits no such site; correct it",
            _duration(abs(ahead)),
            side,
            address,
        )
        sleep(RETRY_SECONDS)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
