"""What trust lists mean: building and verifying them, what a TVS vouches for, and how a phone decides.

Pure decisions: no sockets, no files, no clock. Time is an argument.
"""
