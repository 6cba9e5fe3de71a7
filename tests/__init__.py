"""Tests by behaviour: real files, the real server over a real socket, no mocks of our code."""
