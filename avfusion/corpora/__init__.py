"""Adapters that turn a folder of raw data into tracks: Aff-Wild2, own data, and the demo corpus with its renderer.

May import the rooms up to `media`. Gives: `open_corpus`, `Track`, `scan`, `render_demo`.
"""
