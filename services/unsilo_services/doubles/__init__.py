"""Stand-ins for other systems' APIs, for the story of `make run` and for tests: `python -m unsilo_services.doubles`.

A double answers as the system documents, keeps all in memory, and tells a hub of every write by the system's own signed
webhook. Beside the system's own paths it has some that begin with two underscores: `POST /__behave` says how it is to
answer from now on, `POST /__act/…` makes a person do something, `GET /__arrived` and `GET /__sent` list what happened.
"""
