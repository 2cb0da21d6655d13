"""Adapters that turn a folder of raw data into tracks; the demo corpus renders its own."""
