"""The test bed: a real Kubernetes control plane, PostgreSQL and the operator.

Everything runs as ordinary processes on 127.0.0.1, with free ports, so that any
number of beds run side by side and no container runtime is needed. Linux only.
"""
