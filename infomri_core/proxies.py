"""Proxy variables of the environment: the machine itself is never behind one."""

import os

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def keep_loopback_direct() -> None:
    """Add this machine's own addresses to ``no_proxy``, for this process and those it starts.

    Both spellings are set, since libraries differ in which they read (gRPC, httpx, urllib,
    requests). Other addresses go through the proxy as the environment says.
    """
    given = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    known = [part.strip() for text in given for part in text.split(",") if part.strip()]
    value = ",".join(dict.fromkeys((*known, *_LOOPBACK)))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = value
