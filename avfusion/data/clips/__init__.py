"""Labelled clips of one stream for training its backbone; a clip ends at every tick of every track.

Pictures and sound are held in memory once, as integers; clips are cut from them on demand. Each stream
has its module, since an edit of one concerns the backbone of that stream alone.
"""
