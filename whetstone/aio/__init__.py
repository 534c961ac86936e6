"""The client for asyncio: the same surface as `whetstone.client`, every call awaited, every list an async iterator.

All modules but `transport` are written by `python -m scripts.async_client` from those of the same name above.
"""
