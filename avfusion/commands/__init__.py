"""One file for each command of `avfusion`, which reads the options and calls a room.

May import every room; no room imports it.
"""
