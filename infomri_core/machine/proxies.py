"""Proxy variables of the environment: what goes through one, and what never does."""

import os
from collections.abc import Callable

_LOOPBACK, _NO_GRPC = ("localhost", "127.0.0.1", "::1"), "no_grpc_proxy"


def keep_loopback_direct() -> None:
    """Add this machine's own addresses to ``no_proxy``, for this process and those it starts.

    Both spellings are set, since libraries differ in which they read (gRPC, httpx, urllib,
    requests). Other addresses go through the proxy as the environment says. Where gRPC has a list
    of its own, it reads no other.
    """
    given = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    known = [part.strip() for text in given for part in text.split(",") if part.strip()]
    value = ",".join(dict.fromkeys((*known, *_LOOPBACK)))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = value
    if own := os.environ.get(_NO_GRPC, ""):
        os.environ[_NO_GRPC] = ",".join(dict.fromkeys((*own.split(","), *_LOOPBACK)))


def proxy_of(host: str, scheme: str = "grpc") -> tuple[str, str] | None:
    """The environment's variable and URL of the proxy that connections to ``host`` go through,
    or None when they are direct. A site's connection to its SuperLink is gRPC's, which reads
    variables of its own first."""
    # Half of a command's start-up time, and seldom needed.
    import urllib.request

    found = urllib.request.getproxies_environment()
    kinds = ("grpc", "https", "http", "all") if scheme == "grpc" else (scheme, "all")
    kind = next((kind for kind in kinds if found.get(kind)), "")
    direct = os.environ.get(_NO_GRPC, "") if scheme == "grpc" else ""
    given = {"no": direct} if direct else None
    bypass: Callable[..., bool] = getattr(urllib.request, "proxy_bypass_environment")  # noqa: B009
    if not kind or bypass(host, given):
        return None
    names = (f"{kind}_proxy", f"{kind}_PROXY".upper())
    return next(name for name in names if os.environ.get(name)), found[kind]


def proxy_words(host: str, scheme: str = "grpc") -> str:
    """Which proxy stands between, for an error that says ``host`` did not answer; else ''.

    The proxy's user name and password are left out.
    """
    found = proxy_of(host, scheme)
    if found is None:
        return ""
    variable, url = found
    place = url.rpartition("@")[2].rpartition("//")[2].rstrip("/")
    return f"{variable} sends this through {place}; if it is to be direct, add {host} to no_proxy"
