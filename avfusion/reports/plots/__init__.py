"""Pictures of results; each module draws one."""
