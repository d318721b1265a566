"""In the ServerApp: every Flower message is pushed twice, and replies are pulled in any order."""

import random
from collections.abc import Iterable
from typing import Any


def _copy(message: Any) -> Any:
    from flwr.app import Message

    about = message.metadata
    return Message(message.content, about.dst_node_id, about.message_type, ttl=about.ttl)


def patch() -> None:
    """Change Flower's grid for this process."""
    from flwr.superlink.grid.http_grid import HttpGrid

    push, pull, drawn = HttpGrid.push_messages, HttpGrid.pull_messages, random.Random(1)

    def push_twice(self: Any, messages: Iterable[Any]) -> Any:
        messages = list(messages)
        first = list(push(self, messages))
        again = [_copy(message) for message in messages]
        drawn.shuffle(again)
        push(self, again)
        return first

    def pull_shuffled(self: Any, message_ids: Iterable[str]) -> Any:
        found = list(pull(self, message_ids))
        drawn.shuffle(found)
        return found

    HttpGrid.push_messages = push_twice  # type: ignore[method-assign]
    HttpGrid.pull_messages = pull_shuffled  # type: ignore[method-assign]
