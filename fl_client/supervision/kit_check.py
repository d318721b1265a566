"""At every start: are the kit's files those that the study centre signed, and in use?"""

from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fl_client.settings import SiteSettings
from infomri_core.kits.key_request import public_line
from infomri_core.kits.kit import AUTHORITY, LIST, SETTINGS, check_kit
from infomri_core.system.errors import InputError

_PAIRS = (("node.key", "node.pub"), ("vault.key", "vault.pub"))


def check_files(config: Path, settings: SiteSettings, *, settings_too: bool = False) -> int:
    """Hold the kit beside ``config`` against its signatures; the number of files that are as the
    study centre signed them, 0 where ``site.toml`` names no authority.

    ``site.toml`` is the hospital's to change and is checked only with ``settings_too``: as it
    came. Raises ``InputError`` that names the file.
    """
    kit = settings.kit
    if not kit.authority:
        return 0
    folder = config.resolve().parent
    own = {*kit.own, *(() if settings_too else (SETTINGS,))}
    for key, name, path in _in_use(settings):
        if name not in own and path is not None and path.resolve() != folder / name:
            remedy = f"correct it, or add {name} to [kit] own if the hospital replaced it"
            raise InputError(f"{config.name}: {key}", f"the kit's {name}", str(path), remedy)
    n_files = check_kit(folder, settings.site.name, kit.authority, own)
    for private, public in _PAIRS:
        if private not in own and public not in own:
            _check_pair(folder / private, folder / public)
    return n_files


def _in_use(settings: SiteSettings) -> Iterator[tuple[str, str, Path | None]]:
    link, secure = settings.superlink, settings.secure
    yield "[superlink] root_certificate", AUTHORITY, link.root_certificate
    yield "[superlink] node_key", "node.key", link.node_key
    yield "[secure] key", "vault.key", secure.key
    yield "[secure] trusted", LIST, secure.trusted


def _check_pair(private: Path, public: Path) -> None:
    """The private key is the one whose public half the study centre signed."""
    remedy = "put the key there that belongs to the request or came with the kit"
    try:
        key = load_ssh_private_key(private.read_bytes(), None)
    except OSError as error:
        got = error.strerror or "an error"
        raise InputError(str(private), "a readable key", got, remedy) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    signed = " ".join(public.read_text(encoding="utf-8").split()[:2])
    if not isinstance(key, ec.EllipticCurvePrivateKey) or public_line(key.public_key()) != signed:
        raise InputError(str(private), f"the private half of {public.name}", "another", remedy)
