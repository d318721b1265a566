"""What a registered arm carries to be served where this project is not installed: its code, as one
zip file that Python imports from, and what that code needs from a package index."""

import functools
import io
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path

import fl_server
import infomri_core

LOADER, CODE = "infomri_served", "infomri_code.zip"
NEEDED = ("cryptography", "h5py", "numpy", "pandas", "safetensors", "scipy", "tomli_w", "torch")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_code(folder: Path) -> list[str]:
    """Write the model's code into ``folder``: what MLflow's ``code_paths`` takes.

    Two files, whatever the size of the project: a tracking server gets each by a request of its
    own. The code is that of the process that trained, so that a served model answers the same
    after the project was upgraded.
    """
    loader, code = folder / f"{LOADER}.py", folder / CODE
    shutil.copyfile(Path(__file__).with_name(loader.name), loader)
    code.write_bytes(_zipped())
    return [str(loader), str(code)]


def requirements() -> list[str]:
    """The versions here of what the code imports, as a package index knows them: without the local
    part of a build such as ``2.13.0+cpu``."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in NEEDED]


@functools.cache
def _zipped() -> bytes:
    """All Python files of the two packages, the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in (fl_server, infomri_core):
            root = Path(str(package.__file__)).parent
            for path in sorted(root.rglob("*.py")):
                entry = zipfile.ZipInfo(path.relative_to(root.parent).as_posix(), _EPOCH)
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()
