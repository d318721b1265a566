"""What the suite needs of the machine beyond Python, and what it says when that is missing."""

import logging
import os
import shutil
import sys
from typing import TextIO

from hypothesis import HealthCheck, settings

# A law does not hold faster on a busy machine, and its examples are not drawn faster there.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


class _StderrOfNow:
    """``sys.stderr`` as it stands at each write: pytest gives each test another, and closes it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_made = logging.StreamHandler.__init__


def _make(handler: logging.StreamHandler, stream: TextIO | None = None) -> None:
    """Flower and ``basicConfig`` make handlers that outlive the test in which they are made."""
    _made(handler, _StderrOfNow() if stream is None else stream)


logging.StreamHandler.__init__ = _make

SEARCHED = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
HAS_NGINX = shutil.which("nginx", path=SEARCHED) is not None

# `.ci/run` installs nginx first; elsewhere its tests are left out, and the header says so.
collect_ignore = [] if HAS_NGINX else ["server/test_proxy.py", "redteam/test_operator.py"]


def pytest_report_header() -> str:
    if HAS_NGINX:
        return "nginx: found, the reverse proxy is tested"
    return f"nginx: not installed, without it {collect_ignore} (apt-get install nginx-light)"
