"""Clusters, nodes, phones and a network made of real services on loopback.

The lab is on the other side of the wire: it speaks a node's protocols, so that whatever works here works on a cluster.
"""
