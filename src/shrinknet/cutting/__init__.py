"""Cutting: the small network without the disabled filters, compared with the switched one."""
