"""The files of a study of one's own: a commented plan, the centre's settings, a file a site."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from fl_server.demo.plan import DemoOptions, DemoStudy, design
from infomri_core.attacks.registry import ATTACKS
from infomri_core.machine.hints import shell_command
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import InputError
from infomri_core.system.files import check_output
from infomri_core.system.names import is_site_name

COLUMN = 34

PLAN = """\
# A study: everything that its result depends on, and what hospitals approve. Every change, even of
# a comment, is a new plan with a new sha256. More keys: docs/tutorial.md, docs/privacy.md.

[study]
name = {name}                    # letters of one script, digits, - _ .; the same in any case
seed = 0                         # root of every random number: the same seed, the same weights

[task]                           # what the data hold; another kind: docs/how-to/add-a-task.md
labels = {labels}
shape = {shape}                  # rows and columns of a slice
exclusive = {exclusive}          # true: a slice has exactly one of the labels

[measurement]
noise_std = 0.02                 # standard deviation of the noise, where an image's maximum is 1
ratio_range = {ratio_range}      # shares of k-space that masks are drawn at in training
accelerations = {accelerations}  # where it is scored: 1 / acceleration lies within ratio_range

[model]
width = 16                       # base width of the ResNet18; 64 is the full one

[training]
rounds = {rounds}
local_steps = {local_steps}      # optimizer steps of each site in a round
batch_size = {batch_size}
flips = {flips}                  # true: mirror images left to right in training
quorum = {quorum}                # sites that must deliver for a round to count

[evaluation]
attacks = {attacks}   # also: {other_attacks}
noise = {noise}                  # true: scores leave a site once, under noise of epsilon 8
{band}
# [aggregation]                  # the centre sees the sum of three or more sites' updates only
# secure = true

# [privacy]                      # DP-SGD: bounds what the weights say of one patient
# noise_multiplier = 1.1
# rate = 0.16                    # the chance of each patient to take part in a step
# lot = 16

# Arms are trained side by side on the same batches. beta weighs suppression: steps of three show
# where the frontier bends.
{arms}"""

CENTRE = """\
# The study centre's own settings; they never travel.

[centre]
directory = "runs"               # a folder a run

[audit]                          # patients of the centre's own: attackers are trained on them
data = {audit}
cnn_steps = {cnn_steps}          # more steps, stronger attackers
unet_steps = {unet_steps}

[mlflow]
tracking_uri = "sqlite:///mlflow.db"
"""

SITE = """\
# The hospital {site}. `infomri provision` makes its kit, with keys, certificates and a site.toml
# like this one: copy [data] and [policy] there.

[site]
name = {name}

[superlink]
address = "127.0.0.1:8000"       # of the study centre, from the kit
root_certificate = "ca.crt"      # from the kit
node_key = "node.key"            # stays at the hospital

[data]
uri = {uri}

[vault]
device = "auto"
state = "state"                  # ledger, replies, optimizer state: back it up

[policy]
min_cohort = {min_cohort}        # nothing computed from fewer patients leaves
approvals = "listed"             # plans run only once somebody approved their text:
approved = "approved-plans"      # infomri-client plan list | show | approve | decline

# [policy.must]                  # what the hospital demands of every plan: docs/operations.md
# secure_aggregation = true
# differential_privacy = true
# max_epsilon = 3.0
# no_release = true
"""


def write_study(folder: Path, data: str) -> list[str]:
    """Write ``plan.toml``, ``centre.toml`` and ``sites/NAME.toml`` for ``data`` (a URI) into
    ``folder``; what to do next, a line each. Raises ``InputError`` where files are there already,
    or the data cannot be used."""
    if folder.exists() and any(folder.iterdir()):
        raise InputError(str(folder), "a new or empty folder", "files", "choose another name")
    check_output(folder)
    study = design(data, DemoOptions())
    files = {"plan.toml": _plan(study, folder), "centre.toml": _centre(study)}
    for number, (hospital, uri) in enumerate(study.sites.items(), 1):
        name = hospital if is_site_name(hospital) else f"site-{number}"
        files[f"sites/{name}.toml"] = _site(study, name, uri)
    parse_plan(files["plan.toml"])
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return _next(study, folder, list(files))


def _plan(study: DemoStudy, folder: Path) -> str:
    table = tomllib.loads(study.plan)
    task, training = table["task"], table["training"]
    band = table["evaluation"].get("position_band")
    asked = table["evaluation"]["attacks"]
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in folder.resolve().name)
    values = {
        **{key: task[key] for key in ("labels", "shape", "exclusive")},
        **{key: table["measurement"][key] for key in ("ratio_range", "accelerations")},
        **{key: training[key] for key in ("rounds", "local_steps", "batch_size", "flips")},
        "name": f"s{name}"[1:64] if name[:1].isalnum() else f"study{name}"[:64],
        "quorum": training["quorum"],
        "attacks": asked,
        "other_attacks": [name for name in ATTACKS if name not in asked],
        "noise": table["evaluation"]["noise"],
    }
    text = {key: _toml(value) for key, value in values.items()}
    text["band"] = "" if band is None else f"position_band = {_toml(band)}  # share of a volume\n"
    text["arms"] = "\n".join(_table("[[arms]]", arm) for arm in table["arms"])
    return _aligned(PLAN.format(**text))


def _centre(study: DemoStudy) -> str:
    steps = {"cnn_steps": study.cnn_steps, "unet_steps": study.unet_steps}
    return _aligned(CENTRE.format(audit=_toml(study.audit), **steps))


def _site(study: DemoStudy, name: str, uri: str) -> str:
    values = {"name": _toml(name), "uri": _toml(uri), "min_cohort": study.min_cohort}
    return _aligned(SITE.format(site=name, **values))


def _aligned(text: str) -> str:
    """The text with the comments behind its keys in one column."""
    lines = [re.split(r" {2,}(?=# )", line, maxsplit=1) for line in text.splitlines()]
    return "".join(" ".join([line[0].ljust(COLUMN), *line[1:]]).rstrip() + "\n" for line in lines)


def _table(heading: str, values: Mapping[str, object]) -> str:
    lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    return "\n".join([heading, *lines, ""])


def _toml(value: object) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").strip()


def _next(study: DemoStudy, folder: Path, files: list[str]) -> list[str]:
    pooled = [part for uri in study.sites.values() for part in ("--data", uri)]
    given: list[object] = ["train", folder / "plan.toml", *pooled, "--audit", study.audit]
    shorter = ["--set", "training.rounds=1", "--set", "training.local_steps=10"]
    train = shell_command("infomri", *given, "--out", folder / "runs")
    tried = shell_command("infomri", *given, "--out", folder / "tried", *shorter)
    sites = ",".join(Path(name).stem for name in files if name.startswith("sites/"))
    where = ("--server", "localhost", "--port", "8000", "--sites", sites)
    provision = shell_command("infomri", "provision", *where, "--out", folder / "federation")
    return [
        f"wrote {', '.join(str(folder / name) for name in files)}",
        "",
        "Read plan.toml first. To see it run, in a minute or two:",
        f"  {tried}",
        "The whole of it in one process, on pooled data:",
        f"  {train}",
        "Between hospitals (docs/tutorial.md, part 5):",
        f"  {provision}",
    ]
