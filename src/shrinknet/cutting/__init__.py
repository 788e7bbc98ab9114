"""Cutting: makes the small network without the disabled filters, and verifies it against the switched one."""
