"""What is said on unsilo's topics: envelope, entities, event types, topics.

The one part of unsilo that consumers install. It needs pydantic and msgspec and nothing else, and knows no connector
and no broker.
"""
