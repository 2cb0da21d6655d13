"""Media in: containers, clocks, frames, sound, faces."""
