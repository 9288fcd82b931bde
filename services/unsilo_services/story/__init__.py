"""What `make run` shows: a whole hub, doubles of the vendors' systems, and one story that crosses all of them."""
