"""What the suite needs of the machine beyond Python, and what it says when that is missing."""

import os
import shutil

from hypothesis import settings

# A law does not hold faster on a busy machine.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

SEARCHED = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
HAS_NGINX = shutil.which("nginx", path=SEARCHED) is not None

# `.ci/run` installs nginx first; elsewhere its tests are left out, and the header says so.
collect_ignore = [] if HAS_NGINX else ["server/test_proxy.py", "redteam/test_operator.py"]


def pytest_report_header() -> str:
    if HAS_NGINX:
        return "nginx: found, the reverse proxy is tested"
    return f"nginx: not installed, without it {collect_ignore} (apt-get install nginx-light)"
