"""Few messages at a time for Flower's simulation engine."""

from collections import deque
from typing import Any, final

from flwr.app import Message


@final
class PacedState:
    """Flower's link state ``state``, which holds at most ``window`` unanswered messages.

    Ten times a second the engine looks for each node through all messages that wait for an answer,
    in the process that runs the study: work that grows with the square of the sites. Messages wait
    here instead, in order. All else goes to ``state``.
    """

    def __init__(self, state: Any, window: int) -> None:
        self._state = state
        self._window = window
        self._held: deque[Message] = deque()
        self._out: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def store_message_ins(self, message: Message) -> str:
        """Take a message in; its id."""
        self._held.append(message)
        self._release()
        return str(message.metadata.message_id)

    def get_message_res(self, message_ids: set[str], run_id: int) -> list[Message]:
        """Replies to those of the messages that have one."""
        asked = message_ids & self._out
        if not asked:
            return []
        replies: list[Message] = self._state.get_message_res(message_ids=asked, run_id=run_id)
        self._out -= {reply.metadata.reply_to_message_id for reply in replies}
        return replies

    def delete_messages(self, message_ins_ids: set[str]) -> None:
        """Forget answered messages; others take their place."""
        self._state.delete_messages(message_ins_ids=message_ins_ids)
        self._release()

    def _release(self) -> None:
        while self._held and len(self._out) < self._window:
            stored = self._state.store_message_ins(self._held.popleft())
            if stored:
                self._out.add(stored)
