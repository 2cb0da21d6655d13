"""Videos and sound as they are on disk: decoding, clocks, faces and their tracks, aligned sound.

May import `runtime` and `scoring`. Media are opened by `opener` alone. Gives: `read_timeline`, `face_crops`.
"""
