"""Flower's simulation engine is handed few messages at a time, and none is lost."""

from flwr.app import Message, RecordDict

from fl_server.simulation.pace import PacedState
from tests.support.inprocess import InProcessGrid


class FakeState:
    """Counts the messages in it; answers the oldest when it is asked."""

    def __init__(self) -> None:
        self.waiting: dict[str, Message] = {}
        self.most = 0

    def store_message_ins(self, message: Message) -> str:
        self.waiting[message.metadata.message_id] = message
        self.most = max(self.most, len(self.waiting))
        return str(message.metadata.message_id)

    def get_message_res(self, message_ids: set[str], run_id: int) -> list[Message]:
        oldest = next(iter(self.waiting), "")
        if oldest not in message_ids:
            return []
        return [Message(RecordDict(), reply_to=self.waiting[oldest])]

    def delete_messages(self, message_ins_ids: set[str]) -> None:
        for each in message_ins_ids:
            del self.waiting[each]

    def get_nodes(self, run_id: int) -> set[int]:
        return {run_id}


def test_the_engine_holds_few_messages_and_every_message_is_answered_once() -> None:
    InProcessGrid({})  # sets the identity that messages need
    fake, answered = FakeState(), []
    paced, names = PacedState(fake, 4), [f"m{k}" for k in range(30)]
    for name in names:
        message = Message(RecordDict(), 2, "train", ttl=60)
        message.metadata.__dict__["_message_id"] = name
        assert paced.store_message_ins(message) == name
    while len(answered) < len(names):
        replies = [reply for name in names for reply in paced.get_message_res({name}, 7)]
        found = {reply.metadata.reply_to_message_id for reply in replies}
        answered += sorted(found)
        paced.delete_messages(found)
    assert sorted(answered) == sorted(names) and fake.most == 4
    assert paced.get_nodes(7) == {7}
