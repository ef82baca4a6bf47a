"""What phone models can and can't do with trust lists: one table, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PhoneModel:
    """A phone model's abilities that decide a move.

    Attributes:
        name: as the device name in TVS requests writes it: `CP-8841`.
        number: the model number Unified CM and the phone's REGISTER use.
        security_by_default: whether the model knows ITL and TVS (release 8 and later); without it, it ignores ITL.
        legacy_tls: whether TLS 1.0 is all it speaks.
        sha512: whether it verifies SHA-512 signatures (TB132, inferred: the 7900 series does not).
        max_rsa_bits: longest RSA key it verifies (TB132, inferred).
    """

    name: str
    number: int
    security_by_default: bool = True
    legacy_tls: bool = False
    sha512: bool = True
    max_rsa_bits: int = 4096


#: Models by name. Sources: model numbers as in public device exports; abilities as in TB112, TB123, TB132 and TB160.
MODELS = {
    model.name: model
    for model in (
        PhoneModel("CP-7940", 8, security_by_default=False, legacy_tls=True, sha512=False, max_rsa_bits=2048),
        PhoneModel("CP-7960", 7, security_by_default=False, legacy_tls=True, sha512=False, max_rsa_bits=2048),
        PhoneModel("CP-7942", 434, legacy_tls=True, sha512=False, max_rsa_bits=2048),
        PhoneModel("CP-7962", 404, legacy_tls=True, sha512=False, max_rsa_bits=2048),
        PhoneModel("CP-7945", 435, legacy_tls=True, sha512=False, max_rsa_bits=2048),
        PhoneModel("CP-7965", 436, legacy_tls=True, sha512=False, max_rsa_bits=2048),
        PhoneModel("CP-7821", 621),
        PhoneModel("CP-7841", 622),
        PhoneModel("CP-7861", 623),
        PhoneModel("CP-8811", 36216),
        PhoneModel("CP-8841", 683),
        PhoneModel("CP-8851", 684),
        PhoneModel("CP-8861", 685),
        PhoneModel("CP-8845", 36224),
        PhoneModel("CP-8865", 36225),
        PhoneModel("CP-9971", 493),
    )
}


def model_named(name: str) -> PhoneModel:
    """The model of this name; one nobody listed is taken for a current one, which knows Security by Default."""
    return MODELS.get(name) or PhoneModel(name, 0)
