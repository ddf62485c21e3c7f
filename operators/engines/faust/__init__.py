"""The Faust engine: Faust keeps the group, each task keeps its transaction."""

from __future__ import annotations

import faust

from operators.engines.faust.app import App, Settings, make_app
from operators.engines.faust.bridge import Registered, StreamTopic, stream_topic
from operators.engines.faust.run import run

#: An app of anybody's.
AnyApp = faust.App

__all__ = ["AnyApp", "App", "Registered", "Settings", "StreamTopic", "make_app", "run", "stream_topic"]
