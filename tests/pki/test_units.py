"""The table of where an import lands is the one in `domain`, and nothing else decides."""

from __future__ import annotations

import pytest

from trustbridge.errors import SettingsError
from trustbridge.pki.units import IMPORT_STORES, OWN_STORES, UNITS_OF, BulkType, Store, Unit, bulk_types

#: `domain`, "The bulk procedure", step 5, row by row.
DOMAIN_TABLE = [
    ("CAPF", {"CallManager-trust"}),
    ("tomcat", {"tomcat-trust"}),
    ("tomcat-ECDSA", {"tomcat-trust"}),
    ("CallManager", {"Phone-SAST-trust", "CallManager-trust"}),
    ("CallManager-ECDSA", {"Phone-SAST-trust", "CallManager-trust"}),
    ("ITLRecovery", {"Phone-SAST-trust", "CallManager-trust"}),
]


@pytest.mark.parametrize(("unit", "stores"), DOMAIN_TABLE)
def test_an_imported_certificate_lands_where_the_domain_says(unit: str, stores: set[str]) -> None:
    (kind,) = [kind for kind, units in UNITS_OF.items() if Unit(unit) in units]
    assert set(IMPORT_STORES[kind]) == stores


def test_tvs_and_ipsec_are_not_part_of_the_exchange() -> None:
    exchanged = {unit for units in UNITS_OF.values() for unit in units}
    assert set(Unit) - exchanged == {Unit.TVS, Unit.IPSEC}


def test_every_type_and_unit_has_stores() -> None:
    assert set(UNITS_OF) == set(IMPORT_STORES) == set(BulkType)
    assert set(OWN_STORES) == set(Unit)
    assert {store for stores in OWN_STORES.values() for store in stores} == set(Store)


def test_a_clusters_own_capf_certificate_is_also_in_its_capf_trust() -> None:
    assert set(OWN_STORES[Unit.CAPF]) == {Store.CALLMANAGER_TRUST, Store.CAPF_TRUST}
    assert OWN_STORES[Unit.TVS] == (Store.TVS_TRUST,)


def test_the_tables_cannot_be_changed_by_accident() -> None:
    with pytest.raises(TypeError):
        IMPORT_STORES[BulkType.TFTP] = ()  # type: ignore[index]  # the point of the test


def test_all_means_every_type_and_a_name_itself() -> None:
    assert bulk_types("All") == tuple(BulkType)
    assert bulk_types(" TFTP ") == (BulkType.TFTP,)
    assert [bulk_types(kind.value) for kind in BulkType] == [(kind,) for kind in BulkType]


def test_an_unknown_type_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match="'tvs'") as caught:
        bulk_types("tvs")
    assert "all, tftp, tomcat, capf, itlrecovery" in caught.value.hint
