"""Plans that the study centre has sent, kept so that people at the site can read and decide."""

import logging
from pathlib import Path
from typing import final

from fl_client.settings import SiteSettings
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan, read_plan
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

MAX_PLANS = 50
MAX_BYTES = 64 * 1024

log = logging.getLogger(__name__)


@final
class SeenPlans:
    """The newest :data:`MAX_PLANS` valid plans, one file each under their digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, settings: SiteSettings) -> "SeenPlans":
        """Those of a site, in the vault's state folder."""
        return cls(settings.vault.state / "plans")

    def note(self, plan: Plan) -> None:
        """Keep ``plan`` unless it is kept or larger than :data:`MAX_BYTES`; the oldest make room.
        A disk that does not take it loses the note, not the job."""
        path, data = self._folder / f"{plan.digest}.toml", plan.text.encode()
        if path.exists() or len(data) > MAX_BYTES:
            return
        try:
            write_atomically(path, data)
            for old in self._files()[:-MAX_PLANS]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("a plan could not be kept for reading: %s", error)

    def plans(self) -> dict[str, Plan]:
        """The plans by digest, oldest first; those of another version are left out."""
        found = {}
        for path in self._files():
            try:
                plan = parse_plan(path.read_text(encoding="utf-8"), path.name)
            except InputError as error:
                log.warning("a plan that was seen cannot be read: %s", error)
                continue
            found[plan.digest] = plan
        return found

    def find(self, name: str) -> Plan:
        """The plan in the file ``name``, or the seen one whose digest begins so. ``InputError``
        where there is none, or more than one."""
        digits = len(name) >= 6 and set(name) <= set("0123456789abcdef")
        if Path(name).exists() or not digits:
            return read_plan(Path(name))
        found = [plan for digest, plan in self.plans().items() if digest.startswith(name)]
        if len(found) != 1:
            remedy = "`infomri-client plan list` shows them"
            raise InputError(name, "a plan file or one seen plan", f"{len(found)} plans", remedy)
        return found[0]

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.toml"), key=lambda path: path.stat().st_mtime_ns)
