"""The JSON API, under /api/v1; `parts` names what is served."""
