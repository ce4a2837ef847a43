"""Importing this module makes SIGTERM end the process until the server handles the signal.

A service imports libraries for a second before it can drain. As process 1 of a container it would ignore a SIGTERM in
that time, since the kernel drops signals without a handler there, and the orchestrator would wait for its whole grace
period. So a service's ``__main__`` imports this first.
"""

from __future__ import annotations

import os
import signal

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
