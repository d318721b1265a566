"""The SuperLink's list of node keys, made to agree with a federation's folder."""

from dataclasses import dataclass

from fl_server.operations.control import Control, public_key_bytes
from fl_server.operations.federation_folder import FederationFolder


@dataclass(frozen=True)
class Registration:
    """What was changed: names admitted, and keys shut out."""

    registered: tuple[str, ...]
    unregistered: tuple[str, ...]


def connect(superlink: str, folder: FederationFolder) -> Control:
    """A connection to ``host:port`` with the folder's own CA, or to a connection of Flower's
    configuration by its name."""
    if ":" in superlink:
        return Control(superlink, folder.authority.certificate)
    return Control.named(superlink)


def register_nodes(control: Control, folder: FederationFolder) -> Registration:
    """Register every site of ``folder`` that the SuperLink does not know, and unregister every
    revoked key that it does. Doing it again changes nothing.

    Raises ``InputError`` when the SuperLink refuses or cannot be reached.
    """
    known = {node.public_key: node for node in control.nodes()}
    registered = []
    for name, key in folder.sites.items():
        if public_key_bytes(key) not in known:
            control.register(key, name)
            registered.append(name)
    unregistered = []
    for key in folder.revoked:
        node = known.get(public_key_bytes(key))
        if node is not None and node.status != "unregistered":
            control.unregister(node.node_id)
            unregistered.append(key.stem)
    return Registration(tuple(registered), tuple(unregistered))
