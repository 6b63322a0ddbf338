# SPDX-License-Identifier: Apache-2.0
"""A Zenoh router, until its standard input ends: a session in router mode, as zenohd is.

    router.py ADDRESS PORT
"""
import json
import sys

import zenoh

config = zenoh.Config()
config.insert_json5("mode", '"router"')
config.insert_json5("listen/endpoints", json.dumps([f"tcp/{sys.argv[1]}:{sys.argv[2]}"]))
config.insert_json5("scouting/multicast/enabled", "false")
with zenoh.open(config):
    print("routing", flush=True)
    sys.stdin.read()
