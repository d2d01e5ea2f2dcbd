"""Which tests of a conformance suite a plug-in fails."""


def rules_of(suite):
    return {name for name in dir(suite) if name.startswith("test_")}


def failures(suite, make, **attributes):
    """Message of each test that fails, by its name; other errors than failed rules are not caught."""
    tests = type("Suite", (suite,), {"make": make, **attributes})
    found = {}
    for name in sorted(rules_of(suite)):
        try:
            getattr(tests(), name)()
        except AssertionError as error:
            found[name] = str(error)
    return found


def assert_breaks(suite, test, make, line, **attributes):
    """A plug-in breaks one rule and no other; the message names both, and shows with which values."""
    found = failures(suite, make, **attributes)
    assert set(found) == {test}, found
    first, *values = found[test].splitlines()
    assert first == line
    assert values
    assert all(value.startswith("  ") and ": " in value for value in values)
