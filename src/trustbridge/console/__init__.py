"""The console: pages and a JSON API for people who would rather look, over the same code as the command line."""
