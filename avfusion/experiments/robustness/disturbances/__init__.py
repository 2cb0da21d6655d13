"""What is done to sound or to face crops: a module per kind of disturbance, so that each is a unit of its own.

A kind of sound has `disturb(sound, level, random, voices, sample_rate)`, one of crops `disturb(crop, level, place)`.
"""
