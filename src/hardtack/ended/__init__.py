"""The list of sessions that were ended before their deadline: docs/ended-sessions.md."""

from hardtack.ended.list import Ended, EndedSessions, Stats
from hardtack.ended.protocol import Batch, Channel

__all__ = ["EndedSessions", "Ended", "Stats", "Channel", "Batch"]
