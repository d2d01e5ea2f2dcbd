"""Conformance suites: tests of the rules of each kind of plug-in, one module per kind.

`blis_simpy.testing` exports them. Any test runner that collects methods named ``test_*`` can run them, such as pytest.
"""
