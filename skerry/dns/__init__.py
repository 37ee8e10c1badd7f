"""DNS messages: what the cloud's server and the gateways' are written in. Pure.

Without dnspython, which would cost a gateway's agent some megabytes for what these few forms need.
"""
