"""The seed's procedure over a directory of bundles: export, consolidate, import."""
