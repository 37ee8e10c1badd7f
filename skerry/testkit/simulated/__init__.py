"""The simulated backend: the real code of both sides in one process, in virtual time.

Real: the store's rules, API verbs, controllers, scheduler and hub; session machines and frames; the gateway's link,
pods, twins and outbox; drivers, with their framing. Simulated: time, disks, the network (links and
the TCP under Modbus), containers, devices, and certificates (a link proves who it is by being that gateway's).
"""
