"""Fusion networks as their authors' code has them, where the equations of a paper and its code part."""
