"""Which container a log is: by its path, by the kubelet's links, by Docker's own file."""

import json
from pathlib import Path

import pytest

from headrace.agents.container_keys import ContainerKeys
from headrace.agents.effects import Input, Now
from headrace.agents.tail.containers import container_of, excluded
from headrace.agents.tail.files import Globs
from headrace.agents.tail.listing import Listings

ID = "0123456789abcdef" * 4
POD = {"namespace": "shop", "pod": "web-7d9f.x-1", "pod_uid": "11-22", "container": "app", "restart": "3"}


def written(file: Path, text: str = "") -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("suffix", ["", ".20261126-101112", ".20261126-101112.gz"])
def test_a_pod_s_log_and_its_rotations(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "pods" / "shop_web-7d9f.x-1_11-22" / "app"
    log = written(folder / "3.log")
    path = written(folder / f"3.log{suffix}")
    assert container_of(path) == POD
    container_of.cache_clear()
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / f"web-7d9f.x-1_shop_app-{'f' * 64}.log").symlink_to(folder / "2.log")
    link = tmp_path / "containers" / f"web-7d9f.x-1_shop_app-{ID}.log"
    link.symlink_to(log)
    assert container_of(path) == {**POD, "container_id": ID}
    assert container_of(str(link)) == {**POD, "container_id": ID}


def test_docker_s_log_with_its_name_image_and_labels(tmp_path: Path) -> None:
    path = written(tmp_path / ID / f"{ID}-json.log")
    assert container_of(path) == {"container_id": ID}
    container_of.cache_clear()
    config = {"Name": "/web", "Config": {"Image": "nginx:1", "Labels": {"tier": "front", "n": 1, "long": "x" * 2000}}}
    written(tmp_path / ID / "config.v2.json", json.dumps(config))
    assert container_of(path) == {"container_id": ID, "container": "web", "image": "nginx:1", "label.tier": "front"}
    container_of.cache_clear()
    for broken in ("[]", "{", '{"Config": 1}', "null"):
        written(tmp_path / ID / "config.v2.json", broken)
        assert container_of(path) == {"container_id": ID}
        container_of.cache_clear()


def test_another_file_says_nothing(tmp_path: Path) -> None:
    assert container_of(written(tmp_path / "a.log")) == {}


def test_the_agent_s_own_pod_and_what_the_kubelet_is_about_to_rename_are_left_out(tmp_path: Path) -> None:
    for pod in ("headrace-x1", "headrace-x12", "web"):
        written(tmp_path / "pods" / f"logs_{pod}_1" / "c" / "0.log", "x")
    written(tmp_path / "pods" / "logs_web_1" / "c" / "0.log.20261126-101112.tmp", "x")
    patterns = (str(tmp_path / "pods/*/*/*.log"), str(tmp_path / "pods/*/*/*.log.*"))

    def found(keys: ContainerKeys, environment: dict[str, str]) -> list[str]:
        globs = Globs(patterns, excluded(keys, environment), Input("logs"))
        return [Path(seen.path).parents[1].name for seen in Listings([globs]).take(set(), (), Now(0, 0)).files]

    assert found(ContainerKeys(), {"POD_NAME": "headrace-x1"}) == ["logs_headrace-x12_1", "logs_web_1"]
    in_cluster = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "headrace-x12"}
    assert found(ContainerKeys(), in_cluster) == ["logs_headrace-x1_1", "logs_web_1"]
    assert len(found(ContainerKeys(), {"HOSTNAME": "headrace-x1"})) == 3
    assert len(found(ContainerKeys(own_pod=True), {"POD_NAME": "headrace-x1"})) == 3
