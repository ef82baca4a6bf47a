"""The client side of what a node serves phones: asking a TVS, fetching files, registering, a lease of DHCP.

Lab phones use it by the thousand, and so does whoever proves from outside what phones will see.
"""
