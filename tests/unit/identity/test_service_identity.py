from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.identity.service_identity import SERVICES, ServiceIdentity


@given(
    st.from_regex(r"[a-z0-9._-]{1,60}", fullmatch=True),
    st.sampled_from(SERVICES),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
)
def test_an_identity_is_read_back_from_its_spiffe_id(
    trust_domain: str, service: str, instance: str
) -> None:
    identity = ServiceIdentity(trust_domain, service, instance)

    assert ServiceIdentity.parse(str(identity)) == identity


@pytest.mark.parametrize(
    "spiffe_id",
    [
        "",
        "https://spincycle/spincycle/job-log/1",
        "spiffe://spincycle/job-log/1",
        "spiffe://spincycle/spincycle/job-log",
        "spiffe://spincycle/spincycle/job-log/",
        "spiffe://spincycle/spincycle/job-log/1/2",
        "spiffe://spincycle/spincycle/job-log/..",
        "spiffe://spincycle/spincycle/job-log/1?x",
        "spiffe://spincycle/spincycle/job-log/1\n",
        "spiffe://spincycle/spincycle/person/1",
        "spiffe://Spincycle/spincycle/job-log/1",
        "spiffe://spincycle:1/spincycle/job-log/1",
        "spiffe:///spincycle/job-log/1",
        "SPIFFE://spincycle/spincycle/job-log/1",
        "spiffe://spincycle/spincycle/job-log/" + "a" * 101,
    ],
)
def test_another_id_is_no_identity_of_a_service(spiffe_id: str) -> None:
    with pytest.raises(ValueError, match=r"is not|does not have the form"):
        ServiceIdentity.parse(spiffe_id)
