"""Whatever is sent to the API, it answers as its own description says, and never with a fault."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from blemish.station.api import showing
from blemish.station.guard import Limits
from blemish.station.people import Role
from serving import draw_a_small_demo, station_at

N_EXAMPLES = 3  # of each route; raise it to look further
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, model_path: Path, category_dir: Path) -> Iterator[httpx.Client]:
    """A station in which there is one of everything, and an admin's token."""
    generous = Limits(per_second=1e6, burst=10**6)
    with (
        pytest.MonkeyPatch.context() as patch,
        station_at(tmp_path_factory.mktemp("fuzz") / "station", limits=generous) as (station, client),
    ):
        draw_a_small_demo(patch)
        patch.setattr(showing, "_LIFE_SECONDS", 0.2)  # a stream of events ends by itself, here not after ten minutes
        patch.setattr(showing, "LOOK_SECONDS", 0.01)
        station.store.add_part("0", who="test")
        station.teacher.add_model("0", model_path.read_bytes(), who="test")
        image = (category_dir / "test" / "stain" / "000.png").read_bytes()
        station.store.add_good_image("0", image, ".png", name="0.png", who="test")
        station.inspector.inspect("0", image, request_id="0")
        secret, _ = station.people.add_token("fuzz", Role.ADMIN, who="test")
        client.headers["authorization"] = f"Bearer {secret}"
        yield client


def test_no_request_finds_a_fault_or_what_is_not_described(asked: httpx.Client) -> None:
    schema = schemathesis.openapi.from_dict(asked.get("/api/v1/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 50
    faults = []
    for operation in operations:

        @seed(0)
        @settings(
            max_examples=N_EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            headers = {"authorization": asked.headers["authorization"]}
            response = case.call(base_url=str(asked.base_url).rstrip("/"), headers=headers, timeout=60)
            case.validate_response(response, checks=CHECKS)

        try:
            ask()
        except Exception as error:  # one of a route does not hide those of the others
            found = error.exceptions if isinstance(error, ExceptionGroup) else [error]
            faults.append(f"{operation.label}: {[str(each) for each in found]}")
    assert not faults, "\n\n".join(faults)
