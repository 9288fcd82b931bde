"""Who speaks to unsilo: every folder here is one connected system, every file beside the folders is shared by all.

A connector is data and plain functions. It knows no Kafka, no HTTP server and no metrics, and never another connector.
"""
