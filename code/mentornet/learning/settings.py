"""Settings with which a MentorNet is learned; importing them does not import TensorFlow."""

from __future__ import annotations

from typing import Any

# With these, a curriculum is learned in seconds, whatever the seed.
DEFAULTS: dict[str, Any] = {"num_steps": 3000, "batch_size": 512, "learning_rate": 0.05}
