"""Show predictions: tables, overlay, trace, and the report of a video.

May import the rooms up to `challenge`. Gives: a driver for many videos, and a writer for each picture.
"""
