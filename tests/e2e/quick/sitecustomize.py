"""Imported by a Python that has this folder in PYTHONPATH: RSA keys come from the files KEY_POOL names, in turn.

Making keys is most of what a short demo does, and none of what most tests of it are about.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_files = itertools.cycle(sorted(Path(name) for name in os.environ["KEY_POOL"].split(os.pathsep)))
_generate = rsa.generate_private_key


def _from_pool(public_exponent: int, key_size: int, backend: Any = None) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(next(_files).read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key if key.key_size == key_size else _generate(public_exponent, key_size)


rsa.generate_private_key = _from_pool
