"""What we have seen, what we can still give to others, and what others promised us."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from p2pcompute.protocol.gossip.codec import Message
from p2pcompute.protocol.gossip.params import CACHE_BYTES_MAX, PROMISERS_MAX, PROMISES_MAX, SEEN_MAX, GossipParams


class Seen:
    """Ids of messages that were judged, and whether they were rejected. Oldest first out."""

    __slots__ = ("_at_ms", "_keep_ms", "_rejected")

    def __init__(self, keep_ms: int) -> None:
        self._keep_ms = keep_ms
        self._at_ms: dict[bytes, int] = {}
        self._rejected: dict[bytes, None] = {}

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._at_ms

    def __len__(self) -> int:
        return len(self._at_ms)

    def was_rejected(self, message_id: bytes) -> bool | None:
        """How a message was judged; None for one that was not."""
        return message_id in self._rejected if message_id in self._at_ms else None

    def unseen(self, ids: Iterable[bytes]) -> list[bytes]:
        """Those of them that were not judged."""
        return [one for one in ids if one not in self._at_ms]

    def add(self, message_id: bytes, now_ms: int, *, rejected: bool = False) -> None:
        self._at_ms[message_id] = now_ms
        if rejected:
            self._rejected[message_id] = None
        if len(self._at_ms) > SEEN_MAX:
            self._forget(next(iter(self._at_ms)))

    def expire(self, now_ms: int) -> None:
        old = [one for one, _ in itertools.takewhile(lambda x: x[1] + self._keep_ms <= now_ms, self._at_ms.items())]
        for message_id in old:
            self._forget(message_id)

    def _forget(self, message_id: bytes) -> None:
        del self._at_ms[message_id]
        self._rejected.pop(message_id, None)


class MessageCache:
    """Messages of the last heartbeats, to advertise and to send again."""

    __slots__ = ("_bytes", "_messages", "_params", "_sent", "_windows", "by_part")

    def __init__(self, params: GossipParams) -> None:
        self._params = params
        self._messages: dict[bytes, Message] = {}
        self.by_part: dict[bytes, Message] = {}
        """The same messages by their encoded form."""
        self._windows: deque[list[bytes]] = deque([[]])
        self._sent: dict[tuple[bytes, bytes], int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message) -> None:
        self._messages[message.id] = message
        self.by_part[message.part] = message
        self._windows[0].append(message.id)
        self._bytes += len(message.part)
        while self._bytes > CACHE_BYTES_MAX:
            self._forget(next(iter(self._messages)))

    def send_again(self, message_id: bytes, peer: bytes) -> Message | None:
        """The message, unless it is gone or was sent to this peer often enough."""
        message = self._messages.get(message_id)
        if message is None:
            return None
        count = self._sent.get((peer, message_id), 0)
        if count >= self._params.retransmissions:
            return None
        self._sent[peer, message_id] = count + 1
        return message

    def advertised(self) -> dict[str, list[bytes]]:
        """Ids by topic, of the windows that are advertised."""
        by_topic: dict[str, list[bytes]] = {}
        for window in list(self._windows)[: self._params.gossip_windows]:
            for message_id in window:
                message = self._messages.get(message_id)
                if message is not None:
                    by_topic.setdefault(message.topic, []).append(message_id)
        return by_topic

    def shift(self) -> None:
        """One heartbeat later."""
        self._windows.appendleft([])
        while len(self._windows) > self._params.history_windows:
            for message_id in self._windows.pop():
                self._forget(message_id)
        if self._sent:
            self._sent = {key: count for key, count in self._sent.items() if key[1] in self._messages}

    def _forget(self, message_id: bytes) -> None:
        message = self._messages.pop(message_id, None)
        if message is not None:
            self.by_part.pop(message.part, None)
            self._bytes -= len(message.part)


@dataclasses.dataclass(slots=True)
class _Promise:
    deadline_ms: int
    asked: bytes
    batch: int
    others: list[bytes]


class Broken(NamedTuple):
    """A message that did not come: who was asked for it (in which IWANT), and who is to be asked next."""

    message_id: bytes
    peer: bytes
    batch: int
    following: bytes | None


class Promises:
    """Messages that peers advertised and that we asked one of them for; when it does not come, another is asked.

    What was asked for in one IWANT is one promise, however many messages of it are missing: frames are lost whole.
    """

    def __init__(self, followup_ms: int) -> None:
        self._followup_ms = followup_ms
        self._promises: dict[bytes, _Promise] = {}
        self._batch = 0

    def __len__(self) -> int:
        return len(self._promises)

    def next_batch(self) -> None:
        """What follows is asked for in another IWANT."""
        self._batch += 1

    def offer(self, message_id: bytes, peer: bytes, now_ms: int) -> bool:
        """A peer has the message: whether to ask it now."""
        promise = self._promises.get(message_id)
        if promise is not None:
            if len(promise.others) < PROMISERS_MAX and peer != promise.asked and peer not in promise.others:
                promise.others.append(peer)
            return False
        if len(self._promises) >= PROMISES_MAX:
            return False
        self._promises[message_id] = _Promise(now_ms + self._followup_ms, peer, self._batch, [])
        return True

    def kept(self, message_id: bytes) -> None:
        self._promises.pop(message_id, None)

    def overdue(self, now_ms: int) -> list[Broken]:
        """Every promise whose time is over; those that others can keep are made anew."""
        self.next_batch()
        late = [(one, promise) for one, promise in self._promises.items() if promise.deadline_ms <= now_ms]
        broken = []
        for message_id, promise in late:
            following = promise.others.pop(0) if promise.others else None
            broken.append(Broken(message_id, promise.asked, promise.batch, following))
            if following is None:
                del self._promises[message_id]
            else:
                promise.asked, promise.batch, promise.deadline_ms = following, self._batch, now_ms + self._followup_ms
        return broken
