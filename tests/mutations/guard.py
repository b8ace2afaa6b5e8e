"""Pytest plugin of run.py: notes what failed, and where each of our modules was imported from."""

import json
import os
import pathlib
import sys

_PACKAGE = "seedasr_jax"
_failed = []


def pytest_addoption(parser):
    """Adds --guard-report."""
    parser.addoption("--guard-report", required=True, help="JSON file: failed tests, our modules")


def pytest_runtest_logreport(report):
    """Notes a failed test once, whatever part of it failed."""
    if report.failed and report.nodeid not in _failed:
        _failed.append(report.nodeid)


def pytest_sessionfinish(session):
    """Writes the report."""
    modules = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] == _PACKAGE]
    paths = {getattr(module, "__file__", None) for module in modules} - {None}
    report = {"failed": _failed, "modules": sorted(map(os.path.realpath, paths))}
    pathlib.Path(session.config.getoption("--guard-report")).write_text(json.dumps(report))
