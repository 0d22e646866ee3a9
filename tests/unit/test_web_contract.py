"""The API keeps its OpenAPI document: generated requests, good and bad, get answers that the document names."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ensure_resource_availability,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
    use_after_free,
)

from client.web.app import create_app
from tests.web_service import make_service

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance, negative_data_rejection, positive_data_acceptance, unsupported_method,
    use_after_free, ensure_resource_availability,
]  # fmt: skip
EXAMPLES = 12  # requests per operation
ENDLESS = "/events"  # a stream that goes on; followed by a real client in tests/server


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> schemathesis.BaseSchema:
    """The document of a service that accepts jobs and runs none."""
    service = make_service(tmp_path_factory.mktemp("web"), max_jobs_per_user=10**6, max_jobs=10**6, allowed_hosts=())
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(service))


contract = schemathesis.pytest.from_fixture("api").exclude(path=ENDLESS)


@contract.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_keep_the_document(case: schemathesis.Case) -> None:
    """No generated request gets an undocumented status, type or body, or a 500; bad ones are refused."""
    case.call_and_validate(checks=CHECKS)
