"""The router's clock."""

from typing import Final

HEARTBEAT_MS: Final = 1_000
"""The specification's heartbeat: meshes are maintained, counters decay, messages are advertised."""
