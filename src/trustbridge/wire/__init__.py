"""Bytes to values and back. Standard library only: no sockets, no files, no clock, no cryptography.

Every codec here is total: `decode(data)` gives a frozen value or raises `DecodeError` with the offset of the
first byte that can't be right; `encode(value)` gives bytes; `encode(decode(data)) == data` for all accepted data.
"""
