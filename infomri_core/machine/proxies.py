"""Proxy variables of the environment: what goes through one, and what never does."""

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


def proxy_of(host: str, scheme: str = "https") -> tuple[str, str] | None:
    """The environment's variable and URL of the proxy that connections to ``host`` go through,
    or None when they are direct."""
    # Half of a command's start-up time, and seldom needed.
    import urllib.request

    url = urllib.request.getproxies_environment().get(scheme)
    url = url or urllib.request.getproxies_environment().get("all")
    if not url or urllib.request.proxy_bypass(host):
        return None
    names = (f"{scheme}_proxy", f"{scheme}_PROXY".upper(), "all_proxy", "ALL_PROXY")
    return next(name for name in names if os.environ.get(name)), url


def proxy_words(host: str, scheme: str = "https") -> str:
    """Which proxy stands between, for an error that says ``host`` did not answer; else ''.

    The proxy's user name and password are left out.
    """
    found = proxy_of(host, scheme)
    if found is None:
        return ""
    variable, url = found
    place = url.rpartition("@")[2].rpartition("//")[2].rstrip("/")
    return f"{variable} sends this through {place}; if it is to be direct, add {host} to no_proxy"
