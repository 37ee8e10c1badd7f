"""The cloud's end of every gateway's session: views, reports, streams."""
