"""The local Kafka: a real broker from its published jars, for `unsilo up`, `unsilo broker` and the tests.

Here is everything about starting, watching and stopping that one process. Talking to a broker, this one or any other,
is `kafka.py` beside this folder.
"""
