"""Namespaces: emptying those that go."""
