"""The service around oCore: a REST API, a queue that loses nothing, workers and a monitor.

`api` uses the library through its front door (`import ocore`) only, and knows nothing of Ansible.
"""
