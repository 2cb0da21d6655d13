"""One file for each command of `avfusion`: it reads its options and calls a room.

May import every room; no room imports it.
"""
