"""trustbridge: move Cisco IP phones between Unified CM clusters without losing their trust."""

__version__ = "0.1.0"
