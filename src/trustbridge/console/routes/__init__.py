"""The pages; `parts` names those that are served."""
