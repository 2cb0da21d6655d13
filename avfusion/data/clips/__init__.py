"""Labelled clips of one stream, for training its backbone: every tick of every track is the end of one.

Pictures and sound are held in memory once, as integers; clips are cut out of them when they are asked for. Each stream
has its module, since an edit of one concerns the backbone of that stream alone.
"""
