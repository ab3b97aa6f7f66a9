"""A node pack for tests: a host without something that the pack needs. See prestartup_script.py."""

NODE_CLASS_MAPPINGS = {}
