"""Imported by idle workers ahead of need: bringing up Keras and its backend takes seconds."""

import keras  # noqa: F401
