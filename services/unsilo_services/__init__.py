"""What runs: every folder here is one process, every file beside the folders is shared by all of them.

Services meet only on topics. They never import each other.
"""
