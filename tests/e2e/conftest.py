"""Fixtures: hosts (network namespaces on one switch), servers, agents, hubs, real kubectl. Everything that a test makes is removed again, each process by its pid."""
import os

import pytest

from lab import Lab, tools


@pytest.fixture(scope="session")
def kubectl_path():
    return tools.kubectl("v36")


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory):
    return tools.busybox(str(tmp_path_factory.mktemp("image") / "busybox.tar"), "sampan.io/busybox:1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory, kubectl_path, busybox_tar):
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces and containers")
    made = Lab(str(tmp_path_factory.mktemp("lab")), kubectl_path, busybox_tar)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def server(lab):
    """One server with its node, Ready, with the busybox image imported."""
    s = lab.server("a")
    s.wait_node_ready("a")
    return s


@pytest.fixture
def ns(server, request):
    """A namespace of its own for one test, removed afterwards."""
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:40].strip("-")
    server.kubectl("create", "namespace", name)
    yield name
    server.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the last lines of every process of its lab."""
    report = (yield).get_result()
    if report.failed and "lab" in item.funcargs:
        for name, text in item.funcargs["lab"].logs():
            report.sections.append((name, text))
