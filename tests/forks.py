"""Processes that start in a moment: forks of a server that has imported what they need."""

import multiprocessing
from multiprocessing import forkserver

_PROCESSES = multiprocessing.get_context("forkserver")
_imported = None  # by the server that runs


def context(*modules: str):
    """Makes processes (`.Process`) whose server imports `modules` once; another server ends."""
    global _imported
    if modules != _imported:
        stop()
        _PROCESSES.set_forkserver_preload(list(modules))
        _imported = modules
    return _PROCESSES


def stop():
    """Ends the server, if one runs: only then is what it and its forks took counted as ours."""
    for left in multiprocessing.active_children():  # by a test that failed: it would wait for them
        left.kill()
    forkserver._forkserver._stop()
