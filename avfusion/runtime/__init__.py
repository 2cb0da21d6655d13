"""The base of all rooms: errors, atomic files and locks, fingerprints and digests of code, processes, progress.

Imports no other room. Gives: `run_tasks`, `atomic_path`, `fingerprint`, `code_digest`, `AVFusionError`.
"""
