# SPDX-License-Identifier: Apache-2.0
"""A Zenoh router at a port of loopback, until its standard input ends: a session in router mode, as zenohd is.

    router.py PORT
"""
import json
import sys

import zenoh

config = zenoh.Config()
config.insert_json5("mode", '"router"')
config.insert_json5("listen/endpoints", json.dumps([f"tcp/127.0.0.1:{sys.argv[1]}"]))
config.insert_json5("scouting/multicast/enabled", "false")
with zenoh.open(config):
    print("routing", flush=True)
    sys.stdin.read()
