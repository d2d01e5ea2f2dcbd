"""Claims about policies as tests: what the pytest plug-in offers.

`pytest_plugin` hands out fixtures, `policy_experiment` runs experiments for them, `claims` says what an assertion means
and judges it, `wording` says what was found. The plug-in is loaded by every run of pytest where the library is
installed; all else is imported by the first test that asks for a fixture.
"""
