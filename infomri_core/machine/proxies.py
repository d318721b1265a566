"""Proxy variables of the environment: what goes through one, and what never does."""

import os
from collections.abc import Callable

from infomri_core.system.errors import InputError

_KINDS, _ASIDE = ("grpc", "https", "http", "all"), "INFOMRI_ASIDE_"
_LOOPBACK, _NO_GRPC = ("localhost", "127.0.0.1", "::1"), "no_grpc_proxy"


def keep_loopback_direct() -> None:
    """Add this machine's own addresses to ``no_proxy``, for this process and those it starts.

    Both spellings are set, since libraries differ in which they read (gRPC, httpx, urllib,
    requests). Other addresses go through the proxy as the environment says. Where gRPC has a list
    of its own, it reads no other. A proxy that is no HTTP proxy (SOCKS) is set aside, since
    Flower's client fails on it for loopback, too; :func:`check_proxy` refuses it elsewhere.
    """
    for name in [f"{kind}_proxy" for kind in _KINDS]:
        for spelling in (name, name.upper()):
            if not _is_http(os.environ.get(spelling, "")):
                os.environ[f"{_ASIDE}{spelling}"] = os.environ.pop(spelling)
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
    for name, url in os.environ.items():
        if name.startswith(_ASIDE):
            found.setdefault(name.removeprefix(_ASIDE).lower().removesuffix("_proxy"), url)
    kinds = _KINDS if scheme == "grpc" else (scheme, "all")
    kind = next((kind for kind in kinds if found.get(kind)), "")
    direct = os.environ.get(_NO_GRPC, "") if scheme == "grpc" else ""
    listed = {"no": direct} if direct else None
    bypass: Callable[..., bool] = getattr(urllib.request, "proxy_bypass_environment")  # noqa: B009
    if not kind or bypass(host, listed):
        return None
    names = (f"{kind}_proxy", f"{kind}_PROXY".upper())
    given = [name for name in names if os.environ.get(name) or os.environ.get(_ASIDE + name)]
    return given[0], found[kind]


def check_proxy(host: str, scheme: str = "grpc") -> None:
    """Raise ``InputError`` where connections to ``host`` would go through what is no HTTP proxy:
    they must not be made directly instead."""
    found = proxy_of(host, scheme)
    if found is not None and not _is_http(found[1]):
        got = f"one of {found[1].partition(':')[0]}"
        remedy = f"set it to http://HOST:PORT, or add {host} to no_proxy"
        raise InputError(found[0], "the address of an HTTP proxy", got, remedy)


def _is_http(url: str) -> bool:
    """Whether a proxy's URL is HTTP's, as one without a scheme is."""
    return "://" not in url or url.lower().startswith(("http://", "https://"))


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
