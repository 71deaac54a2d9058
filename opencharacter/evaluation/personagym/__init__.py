"""PersonaGym from a user's copy of its public repository: imported as suites, and scored as published.

`importing` makes the suites, `faithful` scores as the authors' code does, faults included. The suites that `sound`
scores need nothing of their own: their measure is the rubric, with texts that the import takes from the copy.
"""
