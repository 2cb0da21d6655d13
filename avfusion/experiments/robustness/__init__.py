"""How scores fall when a stream is absent, disturbed or out of step."""
