"""The setting ``gateway.review``: what is wrong with it is said at the start, and by check."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.gateway_parts import POLICY, UNSURE, chat, gateway_bundle, run
from tests.http_parts import echo, listening
from tests.tiny import write_tiny_bundle
from typer.testing import CliRunner

from routewright.cli.main import app
from routewright.errors import ConfigError
from routewright.gateway.deploying import load_deployment
from routewright.gateway.policy_file import read_policy_file
from routewright.gateway.serve import Gateway
from routewright.gateway.settings import parse_gateway
from routewright.shipped import FOLDER


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gateway_bundle(tmp_path_factory.mktemp("review") / "bundle")


def policy_file(folder: Path, review: Any, **policy: Any) -> Path:
    doors: dict[str, Any] = {
        "http": {"port": 0},
        "ext_proc": None,
        "api": None,
        "metrics": None,
    }
    path = folder / "routewright.yaml"
    data = {**POLICY, **policy, "gateway": {**doors, "review": review}}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("review", "message"),
    [
        ({}, "gateway.review.folder: field required"),
        ({"folder": " "}, "folder is empty"),
        ({"folder": "a\0b"}, "folder has a null character"),
        ({"folder": "f", "reasons": ["bored"]}, "gateway.review.reasons.0: input should be"),
        ({"folder": "f", "reasons": []}, "nothing is kept"),
        ({"folder": "f", "random": 1.5}, "random must be in [0, 1]"),
        ({"folder": "f", "max_characters": 40_000}, "max_characters must be in 1..32000"),
        ({"folder": "f", "keep_days": 0}, "max_rows and keep_days must be at least 1"),
        ({"folder": "f", "max_row": 1}, "gateway.review.max_row: unknown key"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_key(review: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_gateway({"gateway": {"review": review}}, source="test.yaml")
    assert message in str(caught.value)
    assert "test.yaml: gateway.review" in str(caught.value)
    assert "\n" not in str(caught.value)


def unusable(folder: Path) -> dict[str, Path]:
    """Folders that no rows can be kept in, by what the message says."""
    file = folder / "file"
    file.touch()
    (open_to_all := folder / "open").mkdir()
    open_to_all.chmod(0o755)
    return {
        f"{file} is no folder; name": file / "below",
        "others may look into it (mode 755); chmod 700": open_to_all,
    }


def test_check_names_a_folder_that_cannot_be_used_and_makes_none(
    tmp_path: Path, bundle: Path
) -> None:
    for why, folder in unusable(tmp_path).items():
        config = policy_file(tmp_path, {"folder": str(folder)})
        result = CliRunner().invoke(
            app, ["check", "--config", str(config), "--bundle", str(bundle)]
        )
        assert isinstance(result.exception, ConfigError)
        assert f"{config}: gateway.review.folder: {folder}: " in str(result.exception)
        assert why in str(result.exception)
    config = policy_file(tmp_path, {"folder": "new/kept"})
    result = CliRunner().invoke(
        app, ["check", "--config", str(config), "--bundle", str(bundle)]
    )
    assert result.exit_code == 0, result.exception
    assert not (tmp_path / "new").exists()


def test_a_gateway_that_cannot_keep_texts_does_not_start(tmp_path: Path, bundle: Path) -> None:
    async def play(config: Path) -> None:
        gateway = Gateway(load_deployment(read_policy_file(config, bundle), num_threads=1))
        with pytest.raises(ConfigError, match=r"gateway\.review\.folder: "):
            await gateway.start()
        assert not gateway.engine.ready

    for folder in unusable(tmp_path).values():
        run(play(policy_file(tmp_path, {"folder": str(folder)})))


def test_a_bundle_without_a_pii_task_is_warned_of(tmp_path: Path) -> None:
    tiny = write_tiny_bundle(tmp_path / "tiny").path
    config = tmp_path / "routewright.yaml"
    models = {"models": {"m": {"endpoints": "http://127.0.0.1:9"}}, "default_model": "m"}
    data = {**models, "gateway": {"review": {"folder": "kept"}}}
    config.write_text(yaml.safe_dump(data), encoding="utf-8")
    result = CliRunner().invoke(app, ["check", "--config", str(config), "--bundle", str(tiny)])
    assert result.exit_code == 0, result.exception
    assert "warning: gateway.review: the bundle has no task pii" in result.stdout


def test_a_gateway_that_stops_has_written_its_rows_beside_the_policy_file(
    tmp_path: Path, bundle: Path
) -> None:
    async def play() -> None:
        async with listening(echo) as model:
            models = {name: {"endpoints": model.endpoint.url} for name in ("small", "large")}
            config = policy_file(tmp_path, {"folder": "kept"}, models=models)
            gateway = Gateway(load_deployment(read_policy_file(config, bundle), num_threads=1))
            address = (await gateway.start())["http"]
            url = f"http://{address}/v1/chat/completions"
            async with httpx.AsyncClient(trust_env=False) as client:
                answers = [client.post(url, json=chat(UNSURE)) for _ in range(2)]
                assert {a.status_code for a in await asyncio.gather(*answers)} == {200}
            await gateway.stop(drain_s=1.0)
            assert b'outcome="kept",task="category"} 1.0' in gateway.telemetry.render()

    run(play())
    [path] = (tmp_path / "kept").iterdir()
    [row] = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert row["text"] == UNSURE
    manifest = (bundle / "manifest.json").read_bytes()
    assert row["bundle"] == hashlib.sha256(manifest).hexdigest()[:12]


@pytest.mark.skipif(not (FOLDER / "default").is_dir(), reason="a checkout without the bundle")
def test_the_bundle_of_the_package_takes_out_names_addresses_and_numbers(
    tmp_path: Path,
) -> None:
    from tests.review_parts import decided_about, kept

    from routewright.runtime.classifier import Classifier

    text = (
        "Hello, I am Margaret Thornbury. Write to margaret.thornbury@example.org or call "
        "+1 555-123-4567, and tell me what a tort is."
    )
    policy = {"decisions": [], "tools": {}, "guards": {"jailbreak": {}}}
    model = Classifier.open(num_threads=1)
    seen = decided_about(chat(text), model=model, policy=policy)
    [row] = kept(tmp_path / "kept", seen, random=1.0, draw=lambda: 0.0)
    assert row["text"].endswith("and tell me what a tort is.")
    assert "[PERSON]" in row["text"]
    for canary in ("Margaret", "thornbury", "Thornbury", "example.org", "555", "4567"):
        assert canary not in row["text"]
