"""Conformance suites: tests of the rules that each kind of plug-in has to keep, one module a kind.

Their names are in `blis_simpy.testing`. They need no test framework but a runner that collects the methods named
``test_*``, such as pytest.
"""
