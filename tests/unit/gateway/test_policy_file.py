"""The policy file as a whole; its halves have tests of their own."""

from pathlib import Path

import pytest
import yaml
from tests.gateway_parts import POLICY

from routewright.errors import ConfigError
from routewright.gateway.policy_file import policy_file_schema, read_policy_file


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("gatway", "gatway: unknown key; did you mean gateway?"),
        ("modles", "modles: unknown key; did you mean models?"),
        ("zzz", "zzz: unknown key; known: {}"),
    ],
)
def test_a_misspelt_section_is_named_with_the_sections_of_both_halves(
    tmp_path: Path, section: str, message: str
) -> None:
    path = tmp_path / "routewright.yaml"
    path.write_text(yaml.safe_dump({**POLICY, section: {}}), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_policy_file(path)
    known = ", ".join(policy_file_schema()["properties"])
    assert str(caught.value) == f"{path}: {message.format(known)}"
