"""When a site was last connected."""

from datetime import UTC, datetime

from flwr.proto.node_pb2 import NodeInfo


def last_seen(node: NodeInfo) -> str:
    """ISO 8601: now where it is online, as it then said so within its heartbeat; '' for never."""
    if node.status == "online":
        return datetime.now(UTC).isoformat(timespec="seconds")
    return str(node.last_deactivated_at or node.last_activated_at or "")
