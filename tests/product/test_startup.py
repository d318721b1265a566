"""Help and version come at once, and a site's small processes start small: what is not used there
is not loaded."""

import subprocess
import sys

import pytest

HEAVY = {
    *("torch", "numpy", "flwr", "grpc", "scipy", "pandas", "h5py", "PIL", "skimage"),
    *("mlflow", "streamlit", "matplotlib", "plotly", "opacus", "cryptography", "safetensors"),
    *("pydicom", "nibabel", "ray", "psutil"),
}
# Parts of light packages that help has no use for, and which cost a tenth of its time.
LATE = {"importlib.metadata", "rich.progress"}
CODE = """
import sys
from {module} import main
sys.argv = {arguments!r}
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded", *sorted(sys.modules))
"""
LINES = [
    "infomri --help",
    "infomri --version",
    "infomri train --help",
    "infomri audit --help",
    "infomri provision --help",
    "infomri data import dicom --help",
    "infomri-client --help",
    "infomri-client --version",
    "infomri-client plan approve --help",
    "infomri-client ledger export --help",
    "infomri-client data check --help",
]


@pytest.mark.parametrize("line", LINES)
def test_help_and_version_load_no_library_of_the_work(line: str) -> None:
    program, *arguments = line.split()
    module = {"infomri": "fl_server.cli", "infomri-client": "fl_client.cli"}[program]
    code = CODE.format(module=module, arguments=[program, *arguments])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, _, loaded = done.stdout.rpartition("loaded ")
    assert said.strip()
    assert not set(loaded.split()) & (HEAVY | LATE if "--help" in line else HEAVY)
    assert "typer" in loaded.split()


@pytest.mark.parametrize(
    "module",
    [
        "fl_client.network.supernode",
        "fl_client.network.executor",
        "fl_client.supervision.site_processes",
        "fl_client.sockets.status",
        "fl_client.memory.ledger",
    ],
)
def test_what_a_site_starts_beside_its_vault_loads_no_library_that_computes(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert module in loaded
    assert not loaded & {"torch", "scipy", "skimage", "h5py", "opacus", "pandas", "mlflow"}
