"""The driver: any Unified CM cluster, real or lab, over the interfaces its release offers."""
